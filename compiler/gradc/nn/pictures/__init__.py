"""Pictures of networks in training: curves, what flows through the layers, first weights."""
