"""The intermediate representations: plain data, no behaviour beyond verifying, showing and evaluating."""
