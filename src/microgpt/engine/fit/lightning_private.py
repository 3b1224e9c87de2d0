"""Private names of Lightning that this package relies on, all of them here. Checked against lightning 2.6.6 to 2.6."""
