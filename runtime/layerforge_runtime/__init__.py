"""The HTTP server of an image: one process for HTTP (this package), one for the model's code (``isolated/``).

::

    __main__      command line and environment, start
    settings      what they say
    spawn         starting the worker process
    app           the server's life: start, signals, drain, exit
    routes        which request does what
    predicting    the requests about predictions and trainings
    pages         the requests about the server
    docs          the page for people (docs.html)
    metrics       what Prometheus reads
    bodies        reading bodies
    spool         large data URLs in them
    requests      what is in them
    answers       JSON answers
    attachments   large files in them
    streaming     sending a prediction's events to one client
    streams       the events of predictions
    webhooks      telling a client's server
    transfers     downloads and uploads
    outgoing      requests to other servers
    limits        how much of everything
    validation    inputs against the OpenAPI document
    service       who may run, and how a prediction gets to the worker
    preparation   inputs before the worker gets them
    outcomes      what the worker reports about predictions
    predictions   one prediction's state
    lifecycle     setup, health, a new worker after a crash
    supervisor    one worker process: output, death, end
    reaper        ends of processes
    frames        what the two processes say to each other
    files         URLs to files for inputs, files to URLs for outputs
    media         names, types and data URLs
    logs          lines on stderr
"""

__version__ = "0.1.0"
