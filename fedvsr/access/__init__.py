"""Access rights: who may do what in the object stores, making it so, and trying it from a client's side."""
