/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the programs use of the kernel's BPF ABI (include/uapi/linux/bpf.h) and of IPv4 and UDP. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef u16 be16;
typedef u32 be32;

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BE16(x) ((u16)__builtin_bswap16(x))
#else
#define BE16(x) ((u16)(x))
#endif

/* struct __sk_buff: what a tc program sees of a packet. */
struct packet {
	u32 len;
	u32 pkt_type;
	u32 mark;
	u32 queue_mapping;
	u32 protocol;
	u32 vlan_present;
	u32 vlan_tci;
	u32 vlan_proto;
	u32 priority;
	u32 ingress_ifindex;
	u32 ifindex;
	u32 tc_index;
	u32 cb[5];
	u32 hash;
	u32 tc_classid;
	u32 data;
	u32 data_end;
	u32 napi_id;
	u32 family;
	u32 remote_ip4;
	u32 local_ip4;
	u32 remote_ip6[4];
	u32 local_ip6[4];
	u32 remote_port;
	u32 local_port;
	u32 data_meta;
	u64 flow_keys;
	u64 tstamp;
	u32 wire_len;
	u32 gso_segs;
	u64 sk;
	u32 gso_size;
};

/* struct bpf_fib_lookup. */
struct fib {
	u8 family;
	u8 protocol;
	be16 sport;
	be16 dport;
	u16 length;
	u32 ifindex;
	u32 tos;
	be32 source[4];
	be32 destination[4]; /* in: the destination; out: the next hop */
	u32 vlan;
	u32 mark_and_macs[3];
};

/* struct bpf_redir_neigh. */
struct next_hop {
	u32 family;
	be32 address[4];
};

/* What `maps` sections hold; the loader makes a map of each. */
struct map {
	u32 type;
	u32 key_size;
	u32 value_size;
	u32 max_entries;
	u32 flags;
};

enum { MAP_ARRAY = 2, MAP_PERCPU_ARRAY = 6, MAP_LPM_TRIE = 11 };
enum { NO_PREALLOC = 1 };
enum { VERDICT_NEXT = -1, VERDICT_DROP = 2 }; /* TC_ACT_UNSPEC: the next filter, TC_ACT_SHOT */
enum { FOR_THIS_HOST = 0 };		      /* PACKET_HOST */
enum { ETHERTYPE_IP = 0x0800, FAMILY_IP = 2, PROTOCOL_TCP = 6, PROTOCOL_UDP = 17 };
enum { FIB_SUCCESS = 0, FIB_FORWARDING_DISABLED = 5, FIB_NO_NEIGHBOUR = 7 };
enum { ROOM_AT_MAC = 1 };
enum { ROOM_FIXED_GSO = 1, ROOM_ENCAP_IPV4 = 2, ROOM_ENCAP_UDP = 16 };
enum { RECOMPUTE_CHECKSUM = 1 };
enum { REDIRECT_INGRESS = 1 };
enum { LOOPBACK_IFINDEX = 1 };

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*store_bytes)(struct packet *, u32 offset, const void *from, u32 length, u64 flags) =
	(void *)9;
static long (*redirect)(u32 ifindex, u64 flags) = (void *)23;
static long (*load_bytes)(const struct packet *, u32 offset, void *to, u32 length) = (void *)26;
static long (*change_head)(struct packet *, u32 length, u64 flags) = (void *)43;
static long (*adjust_room)(struct packet *, int length, u32 mode, u64 flags) = (void *)50;
static long (*fib_lookup)(void *, struct fib *, int size, u32 flags) = (void *)69;
static long (*redirect_neigh)(u32 ifindex, struct next_hop *, int size, u64 flags) = (void *)152;
static long (*check_mtu)(void *, u32 ifindex, u32 *mtu, int difference, u64 flags) = (void *)163;

struct ipv4 {
	u8 version_and_words;
	u8 tos;
	be16 length;
	be16 id;
	be16 fragment;
	u8 ttl;
	u8 protocol;
	be16 checksum;
	be32 source;
	be32 destination;
};

struct udp {
	be16 source;
	be16 destination;
	be16 length;
	be16 checksum;
};
