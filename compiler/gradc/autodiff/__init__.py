"""Program -> Program: the gradient of a program is an ordinary program in the same IR."""
