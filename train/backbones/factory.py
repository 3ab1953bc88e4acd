"""Which backbone a configuration asks for."""

from __future__ import annotations

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.bit_tokenizer import BitFormat, BitTokenizer
from mathpipe.train.backbones.decoder_only import ReadOut, Written
from mathpipe.train.backbones.encoder_decoder import PairBody
from mathpipe.train.backbones.pretrained import Writer
from mathpipe.train.config import BodyConfig
from mathpipe.train.model.interface import Model
from mathpipe.train.model.joint_vocabulary import joint_vocabulary


def build_body(config: BodyConfig, source: Writer, target: Writer) -> Model:
    """The configured model over the words of both writers; new layers are drawn from torch's default generator."""
    words = joint_vocabulary(source.vocabulary, target.vocabulary, ())
    if config.model == "encoder-decoder":
        spelled = [*target.vocabulary, *(w for w in source.vocabulary if w not in set(target.vocabulary))]
        return PairBody(config, words, spelled)
    read = config.read or ("last" if isinstance(target, BitTokenizer) else "written")
    if read == "written":
        return Written(config, words)
    if not isinstance(target.format, BitFormat):
        raise UserError(
            f"body.read {read} is for answers that all have one length",
            expected="a bit task, or body.read written",
            got=f"read {read}",
            next_step="leave body.read out",
        )
    return ReadOut(config, words, target.format.answer, prefix=read == "prefix")
