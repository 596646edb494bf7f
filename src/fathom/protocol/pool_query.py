"""Query of a round: the part of the pool that a query method sees, and the ids behind its picks."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from fathom.core.streams import Streams
from fathom.data.images import Subset
from fathom.design.dropout import prediction_draws
from fathom.learn.task import Classifier, Prediction
from fathom.protocol.clock import Clock
from fathom.protocol.oracle import Labeled
from fathom.protocol.split import Ids, Split
from fathom.query.method import QueryMethod
from fathom.query.view import PoolView, Selection


@dataclass(frozen=True)
class PoolQuery:
    """One query of one run.

    Args:
        split: The run's split.
        classifier: Classifier of this round.
        dropout: Dropout of the classifier.
        method: The query method.
        labeled: The samples that have labels.
        streams: The round's streams.
        clock: Clock that counts the time.
    """

    split: Split
    classifier: Classifier
    dropout: float
    method: QueryMethod
    labeled: Labeled
    streams: Streams
    clock: Clock

    def select(self) -> tuple[list[int], list[float] | None, list[str]]:
        """Pick samples of the pool: (dataset ids in order, their scores, notes for the reader)."""
        pool_ids = self.split.pool_ids(self.labeled.ids)
        wanted = self.split.regime.query_size
        size, notes = min(wanted, len(pool_ids)), []
        if size < wanted:
            notes.append(f"the pool held only {size} samples, fewer than the query size {wanted}; took all")
        if size == 0:
            return [], None, notes
        # Drawn from the stream before anything is predicted, so that only the subsample of a huge pool is predicted.
        candidates = self.method.candidates(len(pool_ids), self.streams("query"))
        if candidates is not None and len(candidates) >= size:  # a smaller subset could not fill the query
            pool_ids = pool_ids[candidates.cpu().numpy()]
        with self.clock("query"):
            picked = self._select(pool_ids, size)
        notes += [picked.note] if picked.note else []
        scores = None if picked.scores is None else [float(s) for s in picked.scores.cpu()]
        return pool_ids[picked.positions.cpu().numpy()].tolist(), scores, notes

    def _select(self, pool_ids: Ids, size: int) -> Selection:
        known = self._known()
        if not self.method.predictions:
            nothing = torch.zeros(len(pool_ids), 0, self.split.dataset.num_classes, device=self.split.device)
            views: Iterator[PoolView] = iter([PoolView(nothing, nothing[:, :, 0], *known)])
        else:
            draws = self.method.draws or prediction_draws(self.dropout)
            pool = Subset(self.split.dataset.images, self.split.tensor(pool_ids))
            predictions = self.classifier.stream(pool, draws, self.streams("draws"))
            views = (self._view(p, *known) for p in self.clock.each("predict", predictions))
        return self.method.select(views, size, self.streams("query"))

    def _known(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and labels of the labeled samples; empty if the method does not need them."""
        if not self.method.labeled:
            return torch.zeros(0, 0, device=self.split.device), self.split.tensor([])
        with self.clock("predict"):
            images = Subset(self.split.dataset.images, self.split.tensor(self.labeled.ids))
            features = [self._features(p) for p in self.classifier.stream(images, 0, self.streams("draws"))]
        return torch.cat(features), self.split.tensor(self.labeled.labels)

    def _view(self, p: Prediction, known_features: torch.Tensor, known_labels: torch.Tensor) -> PoolView:
        """View of a chunk, with only what the method declared."""
        log_probs = p.log_probs
        if not self.method.draws and log_probs.shape[1] > 1:
            log_probs = torch.logsumexp(log_probs, dim=1, keepdim=True) - np.log(log_probs.shape[1])
        return PoolView(log_probs, self._features(p), known_features, known_labels)

    def _features(self, p: Prediction) -> torch.Tensor:
        """Features that the method declared."""
        return {"last": p.features, "encoder": p.embeddings, "": p.features[:, :0]}[self.method.features]
