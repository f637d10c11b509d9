"""Uploads an owner's videos, makes shards from them and opens the shards' clips.

Each client owns its videos, and the federation owns the held-out videos.
"""
