"""What the runtime raises in a model's code."""


class CancelationException(BaseException):
    """The running prediction was cancelled; raised in synchronous code, where ``except Exception`` must not stop it.

    Code that catches it to tidy up has to raise it again.
    """
