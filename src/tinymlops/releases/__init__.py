"""Releases on the owner's side: the signed repository, its keys, differences between versions, the sealing vault."""
