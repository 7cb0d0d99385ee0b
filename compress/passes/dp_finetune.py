"""Training a whole network under differential privacy."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from certify.assessments.privacy.records import DpSgd
from certify.core.errors import UsageError
from compress import private as engines
from compress.core.context import PassContext
from compress.core.pass_protocol import PassRecord, PassTags
from compress.private.account import FROM_SYSTEM, PRIVATE, Account, sampling
from compress.private.budget import PrivateTraining

if TYPE_CHECKING:
    from torch import nn


class DpFinetune(PrivateTraining):
    """Train the network on private data under differential privacy (DP-SGD), starting from its weights.

    Opacus computes the gradient of each record, which is compared with a plain loop before training; sampling, noise,
    steps and accounting are leanmark's own. The weights of the last step are returned, because choosing an epoch would
    be another look at the data. Needs the extra `privacy`.

    Papers: Abadi et al. 2016 (arXiv 1607.00133); Yousefpour et al. 2021 (arXiv 2109.12298) for Opacus; Adam on noisy
    sums as in Li et al. 2021 (arXiv 2110.05679).

    When not to use it: on a few thousand records, where a head on public features (`dp_head`) is better at every
    epsilon; on a network with batch norms, which is refused (run `fold_norms` first).

    Example:
        >>> DpFinetune(epsilon=8.0, steps=500).clip
        1.0
    """

    name: ClassVar[str] = "dp_finetune"
    version: ClassVar[int] = 1
    tags: ClassVar[PassTags] = PassTags(
        quick={"steps": 3, "epsilon": 50.0, "delta": 1e-3}, tried_on="depthwise", noisy=True
    )

    lr: float = Field(default=2e-3, gt=0, le=100, description="Learning rate of Adam; it follows a cosine.")
    layers: str = Field(
        default="", description="Prefix of the names of trained parameters, such as head. Default: all parameters."
    )
    chunk: int = Field(default=64, ge=1, le=65_536, description="Records whose gradients are held in memory at once.")

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            UsageError: there are no train samples, no parameter has that prefix, layers mix samples, or no noise level
                keeps the budget.
            MissingExtra: Opacus is not installed.
            ModelError: gradients or noise are not what the accounting assumes.
        """
        private = context.data.part("train", self.name)
        if context.preprocess.class_map is not None:
            raise UsageError(
                "dp_finetune needs a model with one output for each class of the data; replace its head first."
            )
        schedule = self.schedule(context.place, self.lr, len(private))
        trained = copy.deepcopy(model)
        learned = [name for name, parameter in trained.named_parameters() if parameter.requires_grad]
        names = [name for name in learned if name.startswith(self.layers)]
        if not names:
            raise UsageError(
                f"No trainable parameter begins with '{self.layers}'; the first ones are {', '.join(learned[:5])}."
            )
        chosen = set(names)
        # The engine trains the parameters that require gradients, and clips the norm over exactly those.
        frozen = [each for name, each in trained.named_parameters() if each.requires_grad and name not in chosen]
        for parameter in frozen:
            parameter.requires_grad_(False)
        run = engines.train(
            trained, private, context.preprocess, schedule, self.chunk, context.progress, context.device
        )
        # Later passes may train what this pass did not.
        for parameter in frozen:
            parameter.requires_grad_(True)
        mechanism = DpSgd(
            schedule.mechanism, 1, schedule.steps, schedule.noise, schedule.clip, "record", 1,
            sampling(schedule.rate, len(private)), FROM_SYSTEM, (), run.gradient_error,
        )  # fmt: skip
        # At rate 1 every batch is the whole data set, so there is no sampling to document.
        sizes = run.sizes if schedule.rate < 1 else ()
        account = Account(sgd=mechanism, sizes=sizes, choices=self.choices())
        done = {
            "mechanism": schedule.mechanism,
            "parameters": len(names),
            "epsilon": self.spent(schedule),
            "noise": schedule.noise,
            "gradient_error": run.gradient_error,
        }
        return trained.eval(), PassRecord({**done, PRIVATE: account.to_json()})
