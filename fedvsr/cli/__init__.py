"""The command line: thin commands around the functions of the layers below."""
