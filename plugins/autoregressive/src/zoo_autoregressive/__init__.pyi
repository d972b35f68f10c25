"""The models and the samplers of this family, by the names users import."""

from .depthwise_pixelcnn import DepthwisePixelCNN as DepthwisePixelCNN
from .depthwise_pixelcnn import DepthwisePixelCNNConfig as DepthwisePixelCNNConfig
from .diagonal_bilstm import DiagonalBiLSTM as DiagonalBiLSTM
from .gated_pixelcnn import GatedPixelCNN as GatedPixelCNN
from .gated_pixelcnn import GatedPixelCNNConfig as GatedPixelCNNConfig
from .imagegpt import ImageGPT as ImageGPT
from .imagegpt import ImageGPTConfig as ImageGPTConfig
from .jacobi import BlockDecoding as BlockDecoding
from .jacobi import Jacobi as Jacobi
from .made import MADE as MADE
from .made import MADEConfig as MADEConfig
from .multiscale_pixelcnn import MultiscalePixelCNN as MultiscalePixelCNN
from .multiscale_pixelcnn import MultiscalePixelCNNConfig as MultiscalePixelCNNConfig
from .pixelcnn import PixelCNN as PixelCNN
from .pixelcnn import PixelCNNConfig as PixelCNNConfig
from .pixelcnn_pp import PixelCNNPP as PixelCNNPP
from .pixelcnn_pp import PixelCNNPPConfig as PixelCNNPPConfig
from .pixelrnn import PixelRNNConfig as PixelRNNConfig
from .pixelsnail import PixelSNAIL as PixelSNAIL
from .pixelsnail import PixelSNAILConfig as PixelSNAILConfig
from .row_lstm import RowLSTM as RowLSTM
from .samplers import FusedSampling as FusedSampling
from .samplers import Sequential as Sequential
from .transformer_ar import TransformerAR as TransformerAR
from .transformer_ar import TransformerARConfig as TransformerARConfig

__version__: str
