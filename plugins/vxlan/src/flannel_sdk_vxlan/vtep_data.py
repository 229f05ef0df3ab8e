"""The backend data of a vxlan lease: ``{"VNI":1,"VtepMAC":"aa:bb:cc:dd:ee:ff"}``, so laid out."""

import json
import re
from binascii import unhexlify

from flannel_sdk.errors import MalformedEntry
from flannel_sdk.model import MacAddress
from flannel_sdk.toolkit import is_station

_NO_STATION = MacAddress(6)


class VtepDataCodec:
    """Writes our own data, and reads the MAC out of a peer's; ``vni`` is this node's."""

    def __init__(self, vni: int) -> None:
        self._vni = vni
        octets = ":".join(["([0-9a-f][02468ace])", *["([0-9a-f]{2})"] * 5])
        self._match_usual = re.compile(rf'\{{"VNI":{vni},"VtepMAC":"{octets}"\}}').fullmatch

    def encode(self, mac: MacAddress) -> str:
        """Byte for byte what flannel writes."""
        return f'{{"VNI":{self._vni},"VtepMAC":"{mac}"}}'

    def decode(self, text: str) -> MacAddress:
        """A peer's VtepMAC; MalformedEntry if there is none, or its VNI is another than ours."""
        usual = self._match_usual(text)
        if usual is not None:
            mac = MacAddress(unhexlify("".join(usual.groups())))
            if mac != _NO_STATION:
                return mac
        return self.decode_json(text)

    def decode_json(self, text: str) -> MacAddress:
        """The same for any JSON layout, member names in any case; VNI may lack, as before v0.14."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise MalformedEntry("its vxlan data is not JSON") from error
        if not isinstance(document, dict):
            raise MalformedEntry("its vxlan data is not a JSON object")
        members = {key.lower(): value for key, value in document.items()}
        vni = members.get("vni")
        if vni is not None and (type(vni) is not int or vni != self._vni):
            raise MalformedEntry(f"its VNI is {str(vni)[:20]}, not {self._vni}")
        try:
            mac = MacAddress.parse(members["vtepmac"])
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedEntry("its vxlan data holds no VtepMAC that can be read") from error
        if not is_station(mac):
            raise MalformedEntry("its VtepMAC is not the address of one station")
        return mac
