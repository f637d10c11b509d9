"""Secure aggregation: the server learns the sum of the clients' integer vectors and nothing else of any.

The protocol is that of Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine
Learning" (CCS 2017), with double masking and recovery of dropped clients:

1. advertise: a client sends its session's public keys (``AdvertiseKeys`` in the paper);
2. shares: a client sends shares of its two secrets, encrypted to the others (``ShareKeys``);
3. masked update: a client sends its vector, masked modulo 2^k (``MaskedInputCollection``);
4. unmask: a client sends shares, of one secret per peer (``Unmasking``).

`client` and `server` have the functions of the two parties. They know no store, thread or clock: the caller
moves bytes. After a call is repeated with the same arguments, the bytes are the same, except for the shares,
which are drawn once and kept (see `session_record`).
"""
