"""Update codecs: how tensors become the bytes that travel, and tensors again."""
