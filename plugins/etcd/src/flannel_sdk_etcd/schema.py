"""etcd's messages as classes; ``schema.pyi`` has their types."""

from flannel_sdk_etcd.descriptors import message_class

KeyValueMessage = message_class("mvccpb.KeyValue")
EventMessage = message_class("mvccpb.Event")
ResponseHeader = message_class("etcdserverpb.ResponseHeader")
RangeRequest = message_class("etcdserverpb.RangeRequest")
RangeResponse = message_class("etcdserverpb.RangeResponse")
PutRequest = message_class("etcdserverpb.PutRequest")
PutResponse = message_class("etcdserverpb.PutResponse")
DeleteRangeRequest = message_class("etcdserverpb.DeleteRangeRequest")
DeleteRangeResponse = message_class("etcdserverpb.DeleteRangeResponse")
RequestOp = message_class("etcdserverpb.RequestOp")
ResponseOp = message_class("etcdserverpb.ResponseOp")
Compare = message_class("etcdserverpb.Compare")
TxnRequest = message_class("etcdserverpb.TxnRequest")
TxnResponse = message_class("etcdserverpb.TxnResponse")
LeaseGrantRequest = message_class("etcdserverpb.LeaseGrantRequest")
LeaseGrantResponse = message_class("etcdserverpb.LeaseGrantResponse")
LeaseRevokeRequest = message_class("etcdserverpb.LeaseRevokeRequest")
LeaseRevokeResponse = message_class("etcdserverpb.LeaseRevokeResponse")
LeaseTimeToLiveRequest = message_class("etcdserverpb.LeaseTimeToLiveRequest")
LeaseTimeToLiveResponse = message_class("etcdserverpb.LeaseTimeToLiveResponse")
AuthenticateRequest = message_class("etcdserverpb.AuthenticateRequest")
AuthenticateResponse = message_class("etcdserverpb.AuthenticateResponse")
StatusRequest = message_class("etcdserverpb.StatusRequest")
StatusResponse = message_class("etcdserverpb.StatusResponse")
WatchRequest = message_class("etcdserverpb.WatchRequest")
WatchCreateRequest = message_class("etcdserverpb.WatchCreateRequest")
WatchProgressRequest = message_class("etcdserverpb.WatchProgressRequest")
WatchResponse = message_class("etcdserverpb.WatchResponse")

PUT = EventMessage.PUT
DELETE = EventMessage.DELETE
