"""How good a model is: estimators of log p(x), one a file, with one type of result; and what may be wrong with it."""
