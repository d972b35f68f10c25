from .api import Codec as Codec
from .api import codec_of as codec_of
from .api import compress as compress
from .api import decompress as decompress
from .api import weights_digest as weights_digest
from .container import Block as Block
from .container import Container as Container
from .container import parse as parse
