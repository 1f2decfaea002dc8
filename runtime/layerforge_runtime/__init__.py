"""The HTTP server of an image: one process for HTTP (this package), one for the model's code (``isolated/``).

::

    __main__      command line and environment, start
    settings      what they say
    app           the server's life: start, signals, drain, exit
    routes        HTTP requests to actions, and back
    requests      the bodies of requests
    schema        validation of inputs against the OpenAPI document
    predictions   a prediction's state, and who may run
    supervisor    the worker process: start, output, death
    frames        what the two processes say to each other
    files         URLs to files for inputs, files to URLs for outputs
    logs          lines on stderr
"""

__version__ = "0.1.0"
