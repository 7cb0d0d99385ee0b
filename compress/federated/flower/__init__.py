"""The round code over a network: Flower 1.42 carries the bytes, and nothing of ours listens on a port.

    leanmark federate run                                   leanmark federate join
      coordinator                                             client with its data and key
          | Unix socket                                           | Unix socket
      ServerApp -- SuperLink ====== HTTPS, node keys ====== SuperNode -- ClientApp

ServerApp and ClientApp (:mod:`.app`) hand on bytes and hold neither model nor data, so that Flower's processes start
fast and a client keeps what it needs between the messages of a masked round. Round code is that of the simulation:
:class:`.transport.FlowerTransport` gives the server's half its clients, :class:`.worker.Worker` gives a client its
messages. Sums run in the order of names, so that the aggregate is the simulation's to the bit.

Flower leaves two doors open that :mod:`.link` and :mod:`.node` close: whoever reaches a SuperLink may start any program
on every client, as its Control API asks nobody for a password; and a SuperNode runs whatever program its SuperLink
sends. Here the Control API answers on the SuperLink's own machine only, and a client runs this package's app or none.

The extra ``flower`` needs Python >= 3.11 and lowers protobuf and rich; install it into an environment of its own.
"""
