"""One file for each part of the page; each function takes the run and returns a section."""
