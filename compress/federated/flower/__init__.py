"""Federated rounds over a network: Flower 1.42 transmits the messages; leanmark itself listens on no port.

    leanmark federate run                                   leanmark federate join
      coordinator                                             client with its data and key
          | Unix socket                                           | Unix socket
      ServerApp -- SuperLink ====== HTTPS, node keys ====== SuperNode -- ClientApp

ServerApp and ClientApp (:mod:`.app`) only relay bytes and hold neither model nor data, so Flower's processes start
fast, and a client keeps its state between the messages of a masked round. The code of a round is the same as in a
simulation: :class:`.transport.FlowerTransport` connects the server half to its clients, and :class:`.worker.Worker`
passes messages to a client. Sums are taken in the order of names, so the same answers give the same bits.

:mod:`.link` and :mod:`.node` close two holes that Flower leaves open: anyone who reaches a SuperLink can start any
program on every client, since its Control API requires no authentication; and a SuperNode runs whatever program its
SuperLink sends. Here the Control API answers only on the SuperLink's own machine, and a client runs only this package's
app.

The extra ``flower`` needs Python >= 3.11 and older versions of protobuf and rich; install it in a separate environment.
"""
