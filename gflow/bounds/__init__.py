"""W2 bounds and error budgets: one function per proposition (docs/theory). Fields in sampling time only."""

from gflow.bounds.budget import ErrorBudget, FreshData, SamplerRun, ode_budget, sde_budget
from gflow.bounds.certificate import Certificate, Form, Status, certify, steps_for
from gflow.bounds.climbing import Account, Ladder, Profile
from gflow.bounds.continuous import ladder
from gflow.bounds.discrete import discrete_ladder
from gflow.bounds.gradient_flow import gradient_flow_bound
from gflow.bounds.published import (
    cauchy_schwarz_bound,
    global_bound,
    gronwall_bound,
    initial_error_bound,
    truncation_bound,
)
from gflow.bounds.quadrature import Panels
from gflow.bounds.sign import sharper_sampler_bound, sharper_sde_bound, sign_term
from gflow.bounds.slack import SlackLedger, slack_ledger
from gflow.bounds.variation import variation_bound

__all__ = [
    "Account",
    "Certificate",
    "ErrorBudget",
    "Form",
    "FreshData",
    "Ladder",
    "Panels",
    "Profile",
    "SamplerRun",
    "SlackLedger",
    "Status",
    "cauchy_schwarz_bound",
    "certify",
    "discrete_ladder",
    "global_bound",
    "gradient_flow_bound",
    "gronwall_bound",
    "initial_error_bound",
    "ladder",
    "ode_budget",
    "sde_budget",
    "sharper_sampler_bound",
    "sharper_sde_bound",
    "sign_term",
    "slack_ledger",
    "steps_for",
    "truncation_bound",
    "variation_bound",
]
