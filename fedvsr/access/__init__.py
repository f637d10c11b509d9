"""Access rights in the object stores: S3 policies, their setup on the server, and checks by a client."""
