"""Build the configured backbone."""

from __future__ import annotations

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.sequence_tokenizer import FIRST_TOKEN
from mathpipe.datasets.tokenizers.tokenizer import Tokenizer
from mathpipe.train.backbones.decoder_only import AutoregressiveGPT2, ReadoutGPT2
from mathpipe.train.backbones.encoder_decoder import EncoderDecoderBackbone
from mathpipe.train.config import BackboneConfig
from mathpipe.train.model.interface import Model
from mathpipe.train.model.joint_vocabulary import joint_vocabulary


def build_backbone(config: BackboneConfig, source: Tokenizer, target: Tokenizer) -> Model:
    """The configured model over the tokens of both tokenizers; new layers are sampled from torch's default generator."""
    vocabulary = joint_vocabulary(source.vocabulary, target.vocabulary, ())
    if config.model == "encoder-decoder":
        source_only = [token for token in source.vocabulary if token not in set(target.vocabulary)]
        return EncoderDecoderBackbone(config, vocabulary, [*target.vocabulary, *source_only])
    solution_length = target.format.solution_length
    readout = config.readout or ("autoregressive" if solution_length is None else "last")
    if readout == "autoregressive":
        return AutoregressiveGPT2(config, vocabulary)
    if solution_length is None:
        raise UserError(
            f"backbone.readout {readout} requires solutions that all have one length",
            expected="a task such as xor or memory, or backbone.readout autoregressive",
            got=f"readout {readout}",
            next_step="leave backbone.readout out",
        )
    if config.patch is not None and source.vocabulary[FIRST_TOKEN : FIRST_TOKEN + 2] != ("0", "1"):
        raise UserError(
            "backbone.patch requires problems of bits",
            expected="an alphabet that begins with 0 and 1",
            got=" ".join(source.vocabulary[FIRST_TOKEN:])[:80],
            next_step="leave backbone.patch out",
        )
    return ReadoutGPT2(config, vocabulary, solution_length, prefix=readout == "prefix")
