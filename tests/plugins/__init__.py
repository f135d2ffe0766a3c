"""Models and methods of one's own, one a file: each module has `plugin() -> (model, method)` and no edit in aejax."""
