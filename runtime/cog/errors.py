"""Error classes that older models import."""


class CogError(Exception):
    """What the errors of this module have in common."""


class ConfigDoesNotExist(CogError):
    """There is no cog.yaml."""


class PredictorNotSet(CogError):
    """cog.yaml names no runner."""
