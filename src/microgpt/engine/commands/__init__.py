"""The command lines, one module each. They parse, call the library, and print."""
