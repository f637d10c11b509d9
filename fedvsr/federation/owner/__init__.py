"""The owner of videos: finding, sharding and uploading them.

Every client owns its videos; the federation owns the held-out ones.
"""
