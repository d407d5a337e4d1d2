"""Encoders and cross-encoders of two random layers with a real tokenizer, as they are shared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WORDS = [
    *("the", "a", "roll", "back", "adapter", "version", "index", "search"),
    *("how", "do", "i", "is", "in", "of", "error", "memory"),
]


def write_encoder(
    folder: Path, *, family: str = "bert", pooling: str = "mean", **more: Any
) -> Path:
    """A folder with weights, tokenizer.json (which asks for padding) and the modules' configs."""
    import torch
    from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

    torch.manual_seed(0)
    folder.mkdir(parents=True)
    vocabulary = _write_tokenizer(folder)
    model: Any
    if family == "bert":
        shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
        sizes = {"num_attention_heads": 4, "max_position_embeddings": 64}
        model = BertModel(BertConfig(vocab_size=vocabulary, **{**shape, **sizes, **more}))
    else:
        model = DistilBertModel(
            DistilBertConfig(
                vocab_size=vocabulary,
                dim=32,
                hidden_dim=64,
                n_layers=2,
                n_heads=4,
                max_position_embeddings=64,
            )
        )
    _draw_weights(model)
    model.eval().save_pretrained(folder)
    _write_modules(folder, pooling)
    return folder


def _write_modules(folder: Path, pooling: str) -> None:
    """The files of sentence-transformers beside the model."""
    kinds = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")
    modules = [
        {"idx": place, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (kind, path) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({f"pooling_mode_{pooling}": True, "word_embedding_dimension": 32})
    )


def write_multilingual_encoder(folder: Path, *, pooling: str = "mean") -> Path:
    """An XLM-RoBERTa with a SentencePiece tokenizer of characters, as multilingual encoders are."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import XLMRobertaConfig, XLMRobertaModel

    torch.manual_seed(0)
    folder.mkdir(parents=True)
    letters = dict.fromkeys("\u2581abcdefghijklmnopqrstuvwxyz数据库备份ดีกाहिन्दी")
    pieces = [(piece, 0.0) for piece in ("<s>", "<pad>", "</s>", "<unk>")]
    pieces += [(letter, -3.0) for letter in letters]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(folder / "tokenizer.json"))
    model = XLMRobertaModel(
        XLMRobertaConfig(
            vocab_size=len(pieces),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=66,
            type_vocab_size=1,
            pad_token_id=1,
        )
    )
    _draw_weights(model)
    model.eval().save_pretrained(folder)
    _write_modules(folder, pooling)
    return folder


def write_cross_encoder(
    folder: Path, *, family: str = "bert", tells_apart: bool = True, **more: Any
) -> Path:
    """A model for pairs of up to 40 tokens, with a classifier of random weights."""
    import torch
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        PreTrainedTokenizerFast,
        RobertaConfig,
        RobertaForSequenceClassification,
    )

    torch.manual_seed(1)
    folder.mkdir(parents=True)
    vocabulary = _write_tokenizer(folder)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    sizes = {"num_attention_heads": 4, "max_position_embeddings": 64, "num_labels": 1}
    settings = {"vocab_size": vocabulary, **shape, **sizes, **more}
    model: Any
    if family == "bert":
        model = BertForSequenceClassification(BertConfig(**settings))
    else:
        model = RobertaForSequenceClassification(
            RobertaConfig(**{"type_vocab_size": 1, "pad_token_id": 0, **settings})
        )
    _draw_weights(model)
    model.eval().save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        model_max_length=40,
        model_input_names=["input_ids", "attention_mask", *["token_type_ids"] * tells_apart],
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
    ).save_pretrained(folder)
    return folder


def reference_scores(folder: Path, query: str, chunks: list[str]) -> Any:
    """What transformers' own tokenizer and model give, one pair at a time, the chunk cut."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    scores = []
    with torch.inference_mode():
        for chunk in chunks:
            pair = tokenizer([query], [chunk], truncation="only_second", return_tensors="pt")
            scores.append(float(model(**pair).logits[0, 0]))
    return scores


def _draw_weights(model: Any) -> None:
    """Random weights of some size: fresh ones are so small that all texts come out alike."""
    import torch

    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "LayerNorm" not in name and "layer_norm" not in name:
                weights.copy_(torch.randn_like(weights) * 0.2)


def _write_tokenizer(folder: Path) -> int:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokens = [*marks, *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    ids = {token: place for place, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(folder / "tokenizer.json"))
    return len(ids)


def reference_vectors(folder: Path, texts: list[str], *, pooling: str, max_tokens: int) -> Any:
    """What transformers' own model gives, one text at a time."""
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModel

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    model = AutoModel.from_pretrained(folder).eval()
    rows = []
    with torch.inference_mode():
        for text in texts:
            ids = torch.tensor([tokenizer.encode(text).ids])
            hidden = model(input_ids=ids).last_hidden_state[0]
            pooled = hidden[0] if pooling == "cls" else hidden.mean(0)
            rows.append(torch.nn.functional.normalize(pooled, dim=0))
    return torch.stack(rows).numpy()
