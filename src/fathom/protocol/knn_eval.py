"""Nearest-neighbor accuracy of an encoder's features during pre-training.

The labels come from an oracle as looked at, not bought: the accuracy goes into the report alone, and nothing of it
reaches the encoder, the classifier or a query method.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from fathom.core.streams import Streams
from fathom.learn.task import Embed
from fathom.protocol.oracle import Oracle
from fathom.protocol.split import TrainSplit

NEIGHBORS = 20
TEMPERATURE = 0.07  # of the votes (Wu et al., 2018)
BANK, ASKED = 4000, 1000  # samples that vote, samples that are classified: train part of the split


def knn_probe(train_split: TrainSplit, oracle: Oracle, embed: Embed) -> dict[str, float]:
    """Measure the accuracy of weighted nearest neighbors in the features of the train part, in [0, 1].

    The first fifth (at most `ASKED`) of a fixed random order is classified by the rest (at most `BANK`).

    Args:
        train_split: The train part, whose images alone are used.
        oracle: Gives the labels, counted as looked at.
        embed: Features of images as the encoder gives them now.

    Source: Wu et al., 2018 (instance discrimination), Sec. 3.4: cosine similarity, votes exp(similarity / 0.07).
    """
    order = torch.randperm(
        len(train_split.train_ids), generator=Streams(train_split.seed)("pretrain").at("probe").torch()
    )
    ids = train_split.train_ids[order[: ASKED + BANK].numpy()]
    asked = min(ASKED, len(ids) // 5)
    features = embed(train_split.images_at(ids))
    votes = torch.as_tensor(oracle.look(ids[asked:]), device=features.device)
    found = nearest_classes(features[:asked], features[asked:], votes, train_split.dataset.num_classes)
    return {"knn_accuracy": oracle.agreement(ids[:asked], found.cpu().numpy())}


def nearest_classes(
    asked: Float[Tensor, "a d"], bank: Float[Tensor, "b d"], labels: Tensor, num_classes: int
) -> Tensor:
    """Class that the nearest neighbors of each row vote for, int64 [a]."""
    similarity = normalize(asked.float()) @ normalize(bank.float()).T
    near, which = similarity.topk(min(NEIGHBORS, len(bank)))
    votes = torch.zeros(len(asked), num_classes, device=asked.device)
    return votes.scatter_add_(1, labels[which], (near / TEMPERATURE).exp()).argmax(1)
