"""The Hugging Face Hub: whose files are listed with their hashes, fetched once, checked, cached.

access     where the Hub and the cache are, and what may be asked of them
client     the two requests that reading needs, with retries
failures   what went wrong, as an error of ours that names a remedy and no secret
cache      the Hub's cache on disk, shared with other clients of it
snapshot   the files of one commit, all there and all verified
"""
