"""Models, one family per file: the module, its VARIANTS (sizes from the paper) and its RULES (sharding)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.models import mlp
    from deeplab.models.generative import autoencoder, dit, flows, pixels
    from deeplab.models.generative import unet as diffusion_unet
    from deeplab.models.generative.autoencoder import GaussianAutoencoder
    from deeplab.models.generative.convolutional import ConvDecoder, ConvEncoder, Critic, Generator
    from deeplab.models.generative.dit import DiT
    from deeplab.models.generative.masked import GapTransformer
    from deeplab.models.generative.pixel_transformer import PixelTransformer
    from deeplab.models.generative.pixels import PixelCNN
    from deeplab.models.generative.unet import DiffusionUNet
    from deeplab.models.mlp import MLP
    from deeplab.models.multimodal import clip
    from deeplab.models.recsys import autorec, dlrm, factorization, neumf, sasrec, two_tower
    from deeplab.models.recsys.autorec import AutoRec
    from deeplab.models.recsys.dlrm import DLRM
    from deeplab.models.recsys.factorization import Factorization
    from deeplab.models.recsys.neumf import NeuMF
    from deeplab.models.recsys.sasrec import SASRec
    from deeplab.models.recsys.two_tower import TwoTower
    from deeplab.models.series import dlinear, lstm_forecaster, patchtst, tcn
    from deeplab.models.series.dlinear import DLinear
    from deeplab.models.series.lstm_forecaster import LSTMForecaster
    from deeplab.models.series.patchtst import PatchTST
    from deeplab.models.series.tcn import TCN
    from deeplab.models.speech import conformer, deep_speech, frame_cnn, keyword_cnn, wav2vec2, whisper
    from deeplab.models.speech.conformer import Conformer
    from deeplab.models.speech.deep_speech import DeepSpeech2
    from deeplab.models.speech.frame_cnn import FrameCNN
    from deeplab.models.speech.keyword_cnn import KeywordCNN
    from deeplab.models.tabular import ft_transformer
    from deeplab.models.tabular import resnet as tabular_resnet
    from deeplab.models.tabular.ft_transformer import FTTransformer
    from deeplab.models.tabular.resnet import TabularResNet
    from deeplab.models.text.decoders import (
        deepseek,
        falcon,
        gemma,
        gpt,
        gpt_oss,
        granite,
        llama,
        mixtral,
        neox,
        olmo,
        opt,
        phi,
        qwen,
        starcoder2,
    )
    from deeplab.models.text.decoders.gpt import GPT
    from deeplab.models.text.decoders.llama import Llama
    from deeplab.models.text.encoders import bert, bilstm, distilbert, encoder, modernbert, text_cnn
    from deeplab.models.text.encoders.bert import Bert
    from deeplab.models.text.encoders.bilstm import BiLSTM
    from deeplab.models.text.encoders.distilbert import DistilBert
    from deeplab.models.text.encoders.encoder import Encoder
    from deeplab.models.text.encoders.modernbert import ModernBert
    from deeplab.models.text.encoders.text_cnn import TextCNN
    from deeplab.models.text.recurrent import griffin, mamba
    from deeplab.models.text.recurrent.griffin import Griffin
    from deeplab.models.text.recurrent.mamba import Mamba, Mamba2
    from deeplab.models.text.seq2seq import attention_rnn, bart, t5, transformer
    from deeplab.models.text.seq2seq.attention_rnn import AttentionRNN
    from deeplab.models.text.seq2seq.transformer import Transformer
    from deeplab.models.vision.convolutional import (
        cifarnet,
        cnn,
        convnext,
        densenet,
        efficientnet,
        lenet,
        mobilenet,
        resnet,
        vgg,
    )
    from deeplab.models.vision.convolutional.cifarnet import CifarNet
    from deeplab.models.vision.convolutional.cnn import CNN
    from deeplab.models.vision.convolutional.convnext import ConvNeXt
    from deeplab.models.vision.convolutional.densenet import DenseNet
    from deeplab.models.vision.convolutional.efficientnet import EfficientNet
    from deeplab.models.vision.convolutional.lenet import LeNet
    from deeplab.models.vision.convolutional.mobilenet import MobileNetV2, MobileNetV3
    from deeplab.models.vision.convolutional.network import ConvNet
    from deeplab.models.vision.convolutional.resnet import ResNet
    from deeplab.models.vision.convolutional.vgg import VGG
    from deeplab.models.vision.detection import fcos
    from deeplab.models.vision.detection.fcos import FCOS
    from deeplab.models.vision.segmentation import decoder, linknet, segformer, unet
    from deeplab.models.vision.segmentation.decoder import FeatureDecoder
    from deeplab.models.vision.segmentation.linknet import LinkNet
    from deeplab.models.vision.segmentation.segformer import MixTransformer, SegFormer, Segmenter
    from deeplab.models.vision.segmentation.unet import UNet
    from deeplab.models.vision.transformers import dino, mixer, swin, vit
    from deeplab.models.vision.transformers.dino import Dino
    from deeplab.models.vision.transformers.mixer import Mixer
    from deeplab.models.vision.transformers.swin import Swin
    from deeplab.models.vision.transformers.vit import ViT

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "attention_rnn": "text.seq2seq.attention_rnn",
        "AttentionRNN": "text.seq2seq.attention_rnn:AttentionRNN",
        "autorec": "recsys.autorec",
        "autoencoder": "generative.autoencoder",
        "AutoRec": "recsys.autorec:AutoRec",
        "bart": "text.seq2seq.bart",
        "bert": "text.encoders.bert",
        "Bert": "text.encoders.bert:Bert",
        "bilstm": "text.encoders.bilstm",
        "BiLSTM": "text.encoders.bilstm:BiLSTM",
        "cifarnet": "vision.convolutional.cifarnet",
        "CifarNet": "vision.convolutional.cifarnet:CifarNet",
        "clip": "multimodal.clip",
        "cnn": "vision.convolutional.cnn",
        "CNN": "vision.convolutional.cnn:CNN",
        "conformer": "speech.conformer",
        "Conformer": "speech.conformer:Conformer",
        "convnext": "vision.convolutional.convnext",
        "ConvNeXt": "vision.convolutional.convnext:ConvNeXt",
        "decoder": "vision.segmentation.decoder",
        "deepseek": "text.decoders.deepseek",
        "deep_speech": "speech.deep_speech",
        "DeepSpeech2": "speech.deep_speech:DeepSpeech2",
        "densenet": "vision.convolutional.densenet",
        "DenseNet": "vision.convolutional.densenet:DenseNet",
        "diffusion_unet": "generative.unet",
        "DiffusionUNet": "generative.unet:DiffusionUNet",
        "dino": "vision.transformers.dino",
        "Dino": "vision.transformers.dino:Dino",
        "distilbert": "text.encoders.distilbert",
        "DistilBert": "text.encoders.distilbert:DistilBert",
        "dit": "generative.dit",
        "DiT": "generative.dit:DiT",
        "dlinear": "series.dlinear",
        "DLinear": "series.dlinear:DLinear",
        "dlrm": "recsys.dlrm",
        "DLRM": "recsys.dlrm:DLRM",
        "ConvDecoder": "generative.convolutional:ConvDecoder",
        "ConvEncoder": "generative.convolutional:ConvEncoder",
        "Critic": "generative.convolutional:Critic",
        "ConvNet": "vision.convolutional.network:ConvNet",
        "efficientnet": "vision.convolutional.efficientnet",
        "EfficientNet": "vision.convolutional.efficientnet:EfficientNet",
        "encoder": "text.encoders.encoder",
        "Encoder": "text.encoders.encoder:Encoder",
        "FeatureDecoder": "vision.segmentation.decoder:FeatureDecoder",
        "factorization": "recsys.factorization",
        "Factorization": "recsys.factorization:Factorization",
        "frame_cnn": "speech.frame_cnn",
        "FrameCNN": "speech.frame_cnn:FrameCNN",
        "ft_transformer": "tabular.ft_transformer",
        "FTTransformer": "tabular.ft_transformer:FTTransformer",
        "falcon": "text.decoders.falcon",
        "fcos": "vision.detection.fcos",
        "FCOS": "vision.detection.fcos:FCOS",
        "GapTransformer": "generative.masked:GapTransformer",
        "GaussianAutoencoder": "generative.autoencoder:GaussianAutoencoder",
        "flows": "generative.flows",
        "gemma": "text.decoders.gemma",
        "Generator": "generative.convolutional:Generator",
        "gpt": "text.decoders.gpt",
        "GPT": "text.decoders.gpt:GPT",
        "gpt_oss": "text.decoders.gpt_oss",
        "granite": "text.decoders.granite",
        "griffin": "text.recurrent.griffin",
        "Griffin": "text.recurrent.griffin:Griffin",
        "keyword_cnn": "speech.keyword_cnn",
        "KeywordCNN": "speech.keyword_cnn:KeywordCNN",
        "lenet": "vision.convolutional.lenet",
        "LeNet": "vision.convolutional.lenet:LeNet",
        "linknet": "vision.segmentation.linknet",
        "LinkNet": "vision.segmentation.linknet:LinkNet",
        "llama": "text.decoders.llama",
        "Llama": "text.decoders.llama:Llama",
        "lstm_forecaster": "series.lstm_forecaster",
        "LSTMForecaster": "series.lstm_forecaster:LSTMForecaster",
        "mamba": "text.recurrent.mamba",
        "Mamba": "text.recurrent.mamba:Mamba",
        "Mamba2": "text.recurrent.mamba:Mamba2",
        "mixtral": "text.decoders.mixtral",
        "mixer": "vision.transformers.mixer",
        "Mixer": "vision.transformers.mixer:Mixer",
        "MixTransformer": "vision.segmentation.segformer:MixTransformer",
        "mlp": "mlp",
        "MLP": "mlp:MLP",
        "mobilenet": "vision.convolutional.mobilenet",
        "MobileNetV2": "vision.convolutional.mobilenet:MobileNetV2",
        "MobileNetV3": "vision.convolutional.mobilenet:MobileNetV3",
        "modernbert": "text.encoders.modernbert",
        "ModernBert": "text.encoders.modernbert:ModernBert",
        "neox": "text.decoders.neox",
        "neumf": "recsys.neumf",
        "NeuMF": "recsys.neumf:NeuMF",
        "olmo": "text.decoders.olmo",
        "opt": "text.decoders.opt",
        "patchtst": "series.patchtst",
        "PatchTST": "series.patchtst:PatchTST",
        "phi": "text.decoders.phi",
        "PixelCNN": "generative.pixels:PixelCNN",
        "pixels": "generative.pixels",
        "PixelTransformer": "generative.pixel_transformer:PixelTransformer",
        "qwen": "text.decoders.qwen",
        "resnet": "vision.convolutional.resnet",
        "ResNet": "vision.convolutional.resnet:ResNet",
        "sasrec": "recsys.sasrec",
        "SASRec": "recsys.sasrec:SASRec",
        "segformer": "vision.segmentation.segformer",
        "SegFormer": "vision.segmentation.segformer:SegFormer",
        "Segmenter": "vision.segmentation.segformer:Segmenter",
        "swin": "vision.transformers.swin",
        "Swin": "vision.transformers.swin:Swin",
        "t5": "text.seq2seq.t5",
        "starcoder2": "text.decoders.starcoder2",
        "tabular_resnet": "tabular.resnet",
        "TabularResNet": "tabular.resnet:TabularResNet",
        "tcn": "series.tcn",
        "TCN": "series.tcn:TCN",
        "text_cnn": "text.encoders.text_cnn",
        "TextCNN": "text.encoders.text_cnn:TextCNN",
        "transformer": "text.seq2seq.transformer",
        "Transformer": "text.seq2seq.transformer:Transformer",
        "two_tower": "recsys.two_tower",
        "TwoTower": "recsys.two_tower:TwoTower",
        "unet": "vision.segmentation.unet",
        "UNet": "vision.segmentation.unet:UNet",
        "vgg": "vision.convolutional.vgg",
        "VGG": "vision.convolutional.vgg:VGG",
        "vit": "vision.transformers.vit",
        "ViT": "vision.transformers.vit:ViT",
        "wav2vec2": "speech.wav2vec2",
        "whisper": "speech.whisper",
    },
)
