"""The command line: a door to the library that holds no mathematics."""
