"""An agent that perceives, remembers, decides and acts."""

from openjepa.agent.actor import ProposalConfig, ProposeVerifyRepair
from openjepa.agent.agent import Agent
from openjepa.agent.agent_config import AgentConfig, FailedPlanConfig
from openjepa.agent.saved import AgentCard, load_agent, read_card, save_agent

__all__ = [
    "Agent",
    "AgentCard",
    "AgentConfig",
    "FailedPlanConfig",
    "ProposalConfig",
    "ProposeVerifyRepair",
    "load_agent",
    "read_card",
    "save_agent",
]
