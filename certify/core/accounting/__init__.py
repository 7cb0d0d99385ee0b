"""Privacy accounting: Rényi divergences of noisy mechanisms, their composition, and the resulting epsilon."""

from certify.core.accounting.conversion import ORDERS, Spent, epsilon_from_rdp, spent
from certify.core.accounting.mechanisms import ADJACENCIES, Adjacency, GnMax, Mechanism, SubsampledGaussian
from certify.core.accounting.noise import noise_for, require_reachable
from certify.core.accounting.one_run import epsilon_showable, epsilon_shown, guesses_p, refutation, refutes_claim
from certify.core.accounting.sampler import SamplerTest, poisson_sizes

__all__ = [
    "ADJACENCIES",
    "ORDERS",
    "Adjacency",
    "GnMax",
    "Mechanism",
    "SamplerTest",
    "Spent",
    "SubsampledGaussian",
    "epsilon_from_rdp",
    "epsilon_showable",
    "epsilon_shown",
    "guesses_p",
    "noise_for",
    "poisson_sizes",
    "refutation",
    "refutes_claim",
    "require_reachable",
    "spent",
]
