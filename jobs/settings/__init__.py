"""The settings of a run: `model` holds them all, in a file for each subject; `load` reads them."""
