/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * flannel's udp tunnel in the kernel: the payload of a UDP datagram is a raw IPv4 packet.
 *
 * `to_peers` runs where packets leave through the tunnel device and `from_peers` where packets
 * come in from the underlay. Each carries a packet, or drops and counts it, or leaves it alone, so
 * that it goes on to the device's reader or to the UDP socket: our own process, which answers with
 * ICMP, waits for routes and puts fragments together. What is left alone is neither changed nor
 * counted.
 */
#include "kernel.h"

enum { OUTER = sizeof(struct ipv4) + sizeof(struct udp), ETHERNET = 14 };

/* The values of flannel_sdk_udp.datapath.Counter. */
enum counter {
	SENT_PACKETS = 0,
	SENT_BYTES = 1,
	RECEIVED_PACKETS = 2,
	RECEIVED_BYTES = 3,
	DROPPED_NOT_IPV4 = 4,
	DROPPED_MALFORMED = 5,
	DROPPED_UNKNOWN_SOURCE = 8,
	DROPPED_FOREIGN_SOURCE = 9,
	DROPPED_SEND_FAILED = 11,
	COUNTERS = 16,
};

/* Layouts are known to flannel_sdk_udp.ebpf.layout. */
struct settings {
	be32 local;	   /* the address datagrams come to and leave from */
	be16 port;	   /* theirs and ours */
	u16 link_header;   /* bytes before the IP header on the underlay: 14, or 0 */
	u32 tunnel;	   /* ifindex of the tunnel device */
	u32 underlay;	   /* ifindex of the underlay, for hosts that do not forward */
};

struct prefix {
	u32 length;
	be32 address;
};

struct peer {
	be32 address;
	u16 carried; /* 0: leave what is for it to our process */
	u16 mtu;     /* of the route to it, where that has one; else 0 */
};

struct map settings SECTION("maps") = {MAP_ARRAY, sizeof(u32), sizeof(struct settings), 1, 0};
struct map subnets SECTION("maps") = {MAP_LPM_TRIE, sizeof(struct prefix), sizeof(struct peer),
				      1 << 20, NO_PREALLOC};
struct map peers SECTION("maps") = {MAP_LPM_TRIE, sizeof(struct prefix), sizeof(u32), 1 << 20,
				    NO_PREALLOC};
struct map counters SECTION("maps") = {MAP_PERCPU_ARRAY, sizeof(u32), sizeof(u64), COUNTERS, 0};

INLINE void count(u32 counter, u64 amount)
{
	u64 *value = map_lookup(&counters, &counter);

	if (value)
		*value += amount;
}

INLINE int drop(u32 reason)
{
	count(reason, 1);
	return VERDICT_DROP;
}

INLINE u16 folded(u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* One's complement sum of a header without options; 0xffff if its checksum is right. */
INLINE u16 header_sum(const struct ipv4 *ip)
{
	const u16 *word = (const u16 *)ip;
	u32 sum = 0;

	for (int i = 0; i < 10; i++)
		sum += word[i];
	return folded(sum);
}

/* What a packet is on the wire: a large one is cut into segments, each with headers of its own. */
struct wire {
	u32 packets;
	u32 bytes;
	u32 largest;
};

INLINE struct wire on_the_wire(struct packet *packet, u32 offset, const struct ipv4 *ip, u32 length)
{
	u32 headers = (ip->version_and_words & 15) * 4;
	struct wire wire = {1, length, length};
	u8 words;

	if (!packet->gso_size)
		return wire;
	if (ip->protocol == PROTOCOL_UDP)
		headers += sizeof(struct udp);
	else if (ip->protocol == PROTOCOL_TCP && !load_bytes(packet, offset + headers + 12, &words, 1))
		headers += (words >> 4) * 4;
	if (headers >= length)
		return wire;
	wire.packets = (length - headers + packet->gso_size - 1) / packet->gso_size;
	wire.bytes = length + (wire.packets - 1) * headers;
	wire.largest = packet->gso_size + headers;
	return wire;
}

/*
 * Check an inner header of which 20 bytes were read, in `room` bytes. Returns the packet's length, or
 * minus what to count. A large packet's length says so itself, or is 0 where 16 bits are too few.
 */
INLINE int inner_length(const struct ipv4 *ip, u32 room, u32 large)
{
	u32 length = BE16(ip->length);
	u32 header = (ip->version_and_words & 15) * 4;

	if (ip->version_and_words >> 4 != 4)
		return -DROPPED_NOT_IPV4;
	if (!length && large)
		length = room;
	if (header < sizeof(*ip) || length < header || length > room)
		return -DROPPED_MALFORMED;
	return length;
}

/* Store a time to live one lower, and the checksum that goes with it, as the kernel's own does. */
INLINE long lower_ttl(struct packet *packet, u32 offset, const struct ipv4 *ip)
{
	u32 sum = (u32)ip->checksum + BE16(0x0100);
	struct {
		u8 ttl;
		u8 protocol;
		be16 checksum;
	} changed = {ip->ttl - 1, ip->protocol, sum + (sum >= 0xffff)};

	return store_bytes(packet, offset + 8, &changed, sizeof(changed), RECOMPUTE_CHECKSUM);
}

struct outer {
	struct ipv4 ip;
	struct udp udp;
};

INLINE void fill(struct outer *outer, const struct settings *known, be32 to, u32 length)
{
	/* Only a large packet can be too long for these fields; each segment gets its own. */
	u32 whole = length + OUTER <= 0xffff ? length + OUTER : 0;

	outer->ip.version_and_words = 0x45;
	outer->ip.length = BE16(whole);
	outer->ip.fragment = BE16(0x4000);
	outer->ip.ttl = 64;
	outer->ip.protocol = PROTOCOL_UDP;
	outer->ip.source = known->local;
	outer->ip.destination = to;
	outer->ip.checksum = ~header_sum(&outer->ip);
	outer->udp.source = known->port;
	outer->udp.destination = known->port;
	outer->udp.length = BE16(whole ? whole - sizeof(outer->ip) : 0);
}

SECTION("tc/to_peers") int to_peers(struct packet *packet)
{
	u32 zero = 0;
	struct settings *known = map_lookup(&settings, &zero);
	struct prefix key = {32, 0};
	struct next_hop hop = {0};
	struct outer outer = {0};
	struct ipv4 inner;
	struct fib fib = {0};
	struct wire wire;
	struct peer *peer;
	int length;
	long found;

	if (!known)
		return VERDICT_NEXT;
	if (packet->protocol != BE16(ETHERTYPE_IP))
		return drop(DROPPED_NOT_IPV4);
	if (load_bytes(packet, 0, &inner, sizeof(inner)))
		return drop(DROPPED_MALFORMED);
	length = inner_length(&inner, packet->len, packet->gso_size);
	if (length < 0)
		return drop(-length);
	key.address = inner.destination;
	peer = map_lookup(&subnets, &key);
	if (!peer || !peer->carried || inner.ttl <= 1)
		return VERDICT_NEXT;
	/* Unwrapped, a large UDP packet (UDP_SEGMENT) is still marked as a tunnel's, and gets lost. */
	if (packet->gso_size && inner.protocol != PROTOCOL_TCP)
		return VERDICT_NEXT;
	wire = on_the_wire(packet, 0, &inner, length);
	if (peer->mtu && wire.largest + OUTER > peer->mtu)
		return VERDICT_NEXT;
	/* As a local sender looks up a route: in from the loopback device, out of any. */
	fib.family = FAMILY_IP;
	fib.protocol = PROTOCOL_UDP;
	fib.sport = known->port;
	fib.dport = known->port;
	fib.length = wire.largest + OUTER;
	fib.ifindex = LOOPBACK_IFINDEX;
	fib.source[0] = known->local;
	fib.destination[0] = peer->address;
	found = fib_lookup(packet, &fib, sizeof(fib), 0);
	if (found == FIB_FORWARDING_DISABLED)
		fib.ifindex = known->underlay;
	else if (found != FIB_SUCCESS && found != FIB_NO_NEIGHBOUR)
		return VERDICT_NEXT;
	if (fib.ifindex == packet->ifindex)
		return drop(DROPPED_SEND_FAILED);
	fill(&outer, known, peer->address, length);
	/* Refused for a packet that a tunnel inside a pod has wrapped: a small one goes without. */
	if (adjust_room(packet, OUTER, ROOM_AT_MAC,
			ROOM_FIXED_GSO | ROOM_ENCAP_IPV4 | ROOM_ENCAP_UDP) &&
	    (packet->gso_size || adjust_room(packet, OUTER, ROOM_AT_MAC, ROOM_FIXED_GSO)))
		return VERDICT_NEXT;
	if (store_bytes(packet, 0, &outer, OUTER, RECOMPUTE_CHECKSUM) ||
	    lower_ttl(packet, OUTER, &inner) || change_head(packet, ETHERNET, 0))
		return drop(DROPPED_SEND_FAILED);
	count(SENT_PACKETS, wire.packets);
	count(SENT_BYTES, wire.bytes);
	/*
	 * A packet that waits for its neighbour keeps the route it came with, which is the tunnel
	 * device's, unless the helper looks for one itself.
	 */
	if (found != FIB_SUCCESS)
		return redirect_neigh(fib.ifindex, 0, 0, 0);
	hop.family = fib.family;
	for (int i = 0; i < 4; i++)
		hop.address[i] = fib.destination[i];
	return redirect_neigh(fib.ifindex, &hop, sizeof(hop), 0);
}

/* Whether it is a datagram of ours that needs nothing but to be unwrapped. */
INLINE int is_ours(struct packet *packet, const struct settings *known, const struct outer *outer)
{
	u32 length = BE16(outer->ip.length);

	if (outer->ip.version_and_words != 0x45 || outer->ip.protocol != PROTOCOL_UDP ||
	    outer->ip.destination != known->local || outer->udp.destination != known->port ||
	    outer->ip.fragment & BE16(0x3fff) || header_sum(&outer->ip) != 0xffff)
		return 0;
	return packet->gso_size || (length >= OUTER && length <= packet->len - known->link_header &&
				    BE16(outer->udp.length) == length - sizeof(outer->ip));
}

/* Drop what came in for this reason, unless it came from nobody we know. */
INLINE int refuse(be32 source, u32 reason)
{
	struct prefix key = {32, source};

	return drop(map_lookup(&peers, &key) ? reason : DROPPED_UNKNOWN_SOURCE);
}

SECTION("tc/from_peers") int from_peers(struct packet *packet)
{
	u32 zero = 0;
	struct settings *known = map_lookup(&settings, &zero);
	struct prefix key = {32, 0};
	struct outer outer;
	struct ipv4 inner;
	struct wire wire;
	struct peer *peer;
	u32 link, mtu, room;
	int length;

	if (!known || packet->pkt_type != FOR_THIS_HOST || packet->protocol != BE16(ETHERTYPE_IP))
		return VERDICT_NEXT;
	link = known->link_header;
	if (load_bytes(packet, link, &outer, sizeof(outer)) || !is_ours(packet, known, &outer))
		return VERDICT_NEXT;
	mtu = 0;
	if (check_mtu(packet, known->tunnel, &mtu, 0, 0) < 0)
		return VERDICT_NEXT; /* The device is gone: whoever has the port now takes it. */
	if (packet->gso_size)
		room = packet->len - link - OUTER;
	else
		room = BE16(outer.ip.length) - OUTER;
	if (room < sizeof(inner) || load_bytes(packet, link + OUTER, &inner, sizeof(inner)))
		return refuse(outer.ip.source, DROPPED_MALFORMED);
	length = inner_length(&inner, room, packet->gso_size && room > 0xffff);
	if (length < 0)
		return refuse(outer.ip.source, -length);
	key.address = inner.source;
	peer = map_lookup(&subnets, &key);
	if (!peer || peer->address != outer.ip.source)
		return refuse(outer.ip.source, DROPPED_FOREIGN_SOURCE);
	if (inner.ttl <= 1)
		return VERDICT_NEXT;
	if (packet->gso_size && (u32)length != room)
		return VERDICT_NEXT; /* Several datagrams in one, which the socket takes apart. */
	if (!packet->gso_size && (u32)length > mtu)
		return VERDICT_NEXT;
	wire = on_the_wire(packet, link + OUTER, &inner, length);
	if (adjust_room(packet, -OUTER, ROOM_AT_MAC, ROOM_FIXED_GSO))
		return VERDICT_NEXT;
	if (lower_ttl(packet, link, &inner))
		return drop(DROPPED_MALFORMED);
	count(RECEIVED_PACKETS, wire.packets);
	count(RECEIVED_BYTES, wire.bytes);
	return redirect(known->tunnel, REDIRECT_INGRESS);
}

char terms[] SECTION("license") = "GPL";
