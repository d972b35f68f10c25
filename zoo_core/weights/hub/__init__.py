"""The Hugging Face Hub: files are listed with their hashes, fetched once, verified and cached.

What this package promises, and what a change must not lose:

- One look-up for all files of a branch; none for a cached commit that is named in full. The files
  of a model come from one commit.
- Without a connection: an answer in under 4 s, or at once with `offline`. A host that hangs is
  given up after at most 10 s without a byte, and a download has a total limit.
- Bounded bodies: a listing, a redirect and a compressed body cannot fill the memory or the disk.
- Bytes are used only if they have the hash that the commit lists, at each load. Other bytes are
  set aside and fetched once more; a pin refuses all others.
- A killed download goes on where it was; four processes at once download a file once.
- 408, 429, 5xx and dropped connections are retried.
- Tokens go to the endpoint alone, and neither tokens nor signed URLs are printed or logged.
- Names from a listing cannot lead out of the cache, and neither can links.
- A read-only cache serves what it holds; symbolic links are not needed. The layout is the one
  that other clients of the Hub read and write.
- The cache can be listed, verified, pruned and removed; what is pinned stays.
- A push is one commit.

`huggingface_hub` supplies the session, the token, the URLs, the locks and the scan of the cache.
The transfer is our own: the library's does not go on after a kill, checks sizes alone, and takes
the name of a blob from the server.

access       endpoint, token, cache and offline; which names may be asked for
library      huggingface_hub, imported with the environment of this user
patience     how long to wait, and when to try again
http_errors  what went wrong, as an error of ours that names a remedy and no secret
listing      what a commit holds, checked
client       the two requests: the listing of a commit, the bytes of a file
cache        the cache on disk
snapshot     the files of one commit, all there and all verified; asks for room on the disk
urls         files at https addresses of their own, verified by the hashes of their card
prune        the cache's upkeep
"""
