"""An actor system as Thespian ships it, to be attacked: prints ports and pids, ends when standard input does."""

import json
import os
import sys

from thespian.actors import Actor, ActorAddress, ActorSystem


class Sitter(Actor):  # type: ignore[misc]
    """Answers with its pid."""

    def receiveMessage(self, message: object, sender: ActorAddress) -> None:
        if message == "pid":
            self.send(sender, os.getpid())


def main() -> None:
    system = ActorSystem("multiprocTCPBase", {"Admin Port": int(sys.argv[1])})
    actors = [system.createActor("tests.substrate.plain_victim.Sitter") for _ in range(3)]
    ports = [actor.addressDetails.sockname[1] for actor in actors]
    print(json.dumps({"ports": ports, "pids": [system.ask(actor, "pid", 5) for actor in actors]}), flush=True)
    sys.stdin.read()
    system.shutdown()


if __name__ == "__main__":
    main()
