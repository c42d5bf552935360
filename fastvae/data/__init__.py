"""Where examples come from: the built-in digits, MNIST, and files of arrays and tables."""
