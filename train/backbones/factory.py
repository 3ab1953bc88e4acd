"""Build the configured backbone."""

from __future__ import annotations

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.bit_tokenizer import BitFormat, BitTokenizer
from mathpipe.train.backbones.decoder_only import AutoregressiveGPT2, ReadoutGPT2
from mathpipe.train.backbones.encoder_decoder import EncoderDecoderBackbone
from mathpipe.train.backbones.pretrained import Tokenizer
from mathpipe.train.config import BackboneConfig
from mathpipe.train.model.interface import Model
from mathpipe.train.model.joint_vocabulary import joint_vocabulary


def build_backbone(config: BackboneConfig, source: Tokenizer, target: Tokenizer) -> Model:
    """The configured model over the tokens of both tokenizers; new layers are sampled from torch's default generator."""
    vocabulary = joint_vocabulary(source.vocabulary, target.vocabulary, ())
    if config.model == "encoder-decoder":
        source_only = [token for token in source.vocabulary if token not in set(target.vocabulary)]
        return EncoderDecoderBackbone(config, vocabulary, [*target.vocabulary, *source_only])
    readout = config.readout or ("last" if isinstance(target, BitTokenizer) else "autoregressive")
    if readout == "autoregressive":
        return AutoregressiveGPT2(config, vocabulary)
    if not isinstance(target.format, BitFormat):
        raise UserError(
            f"backbone.readout {readout} requires solutions that all have one length",
            expected="a bit task, or backbone.readout autoregressive",
            got=f"readout {readout}",
            next_step="leave backbone.readout out",
        )
    return ReadoutGPT2(config, vocabulary, target.format.answer_length, prefix=readout == "prefix")
