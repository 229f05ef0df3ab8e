// nodeapi is a current API server with nodes alone, for the tests: the generic API server library
// of Kubernetes over etcd, with what the older kube-apiserver of the tests lacks (watch-list).
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

var (
	scheme = runtime.NewScheme()
	codecs = serializer.NewCodecFactory(scheme)
)

func init() {
	utilruntime.Must(corev1.AddToScheme(scheme))
	// No types of our own between what is spoken and what is kept.
	internal := schema.GroupVersion{Version: runtime.APIVersionInternal}
	scheme.AddKnownTypes(internal, &corev1.Node{}, &corev1.NodeList{})
	utilruntime.Must(scheme.SetVersionPriority(corev1.SchemeGroupVersion))
	utilruntime.Must(scheme.AddFieldLabelConversionFunc(
		corev1.SchemeGroupVersion.WithKind("Node"),
		func(label, value string) (string, string, error) {
			if label != "metadata.name" && label != "spec.unschedulable" {
				return "", "", fmt.Errorf("field label not supported: %s", label)
			}
			return label, value, nil
		},
	))
}

// nodeStrategy keeps the spec from being written through the status, and the other way round.
type nodeStrategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	status bool
}

func (nodeStrategy) NamespaceScoped() bool                                     { return false }
func (nodeStrategy) AllowCreateOnUpdate() bool                                 { return false }
func (nodeStrategy) AllowUnconditionalUpdate() bool                            { return true }
func (nodeStrategy) Canonicalize(runtime.Object)                               {}
func (nodeStrategy) PrepareForCreate(context.Context, runtime.Object)          {}
func (nodeStrategy) WarningsOnCreate(context.Context, runtime.Object) []string { return nil }
func (nodeStrategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

func (nodeStrategy) Validate(_ context.Context, made runtime.Object) field.ErrorList {
	meta := &made.(*corev1.Node).ObjectMeta
	return validation.ValidateObjectMeta(
		meta, false, validation.NameIsDNSSubdomain, field.NewPath("metadata"))
}

func (s nodeStrategy) PrepareForUpdate(_ context.Context, to, from runtime.Object) {
	if s.status {
		to.(*corev1.Node).Spec = from.(*corev1.Node).Spec
	} else {
		to.(*corev1.Node).Status = from.(*corev1.Node).Status
	}
}

func (s nodeStrategy) ValidateUpdate(ctx context.Context, to, from runtime.Object) field.ErrorList {
	newer, older := to.(*corev1.Node), from.(*corev1.Node)
	errors := s.Validate(ctx, to)
	if older.Spec.PodCIDR != "" && newer.Spec.PodCIDR != older.Spec.PodCIDR {
		errors = append(errors, field.Forbidden(field.NewPath("spec"),
			"node updates may not change podCIDR except from \"\" to valid"))
	}
	return errors
}

// statusStorage is nodes/NAME/status.
type statusStorage struct {
	store *registry.Store
}

func (s *statusStorage) New() runtime.Object { return &corev1.Node{} }
func (s *statusStorage) Destroy()            {}

func (s *statusStorage) Get(
	ctx context.Context, name string, how *metav1.GetOptions,
) (runtime.Object, error) {
	return s.store.Get(ctx, name, how)
}

func (s *statusStorage) Update(
	ctx context.Context, name string, what rest.UpdatedObjectInfo,
	create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc,
	_ bool, how *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	return s.store.Update(ctx, name, what, create, update, false, how)
}

func attributes(object runtime.Object) (labels.Set, fields.Set, error) {
	node, is := object.(*corev1.Node)
	if !is {
		return nil, nil, fmt.Errorf("not a node")
	}
	selectable := generic.ObjectMetaFieldsSet(&node.ObjectMeta, false)
	selectable["spec.unschedulable"] = fmt.Sprint(node.Spec.Unschedulable)
	return node.Labels, selectable, nil
}

func nodeStorage(getter generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
	strategy := nodeStrategy{scheme, names.SimpleNameGenerator, false}
	resource := schema.GroupResource{Resource: "nodes"}
	store := &registry.Store{
		NewFunc:     func() runtime.Object { return &corev1.Node{} },
		NewListFunc: func() runtime.Object { return &corev1.NodeList{} },
		PredicateFunc: func(label labels.Selector, field fields.Selector) storage.SelectionPredicate {
			return storage.SelectionPredicate{Label: label, Field: field, GetAttrs: attributes}
		},
		DefaultQualifiedResource:  resource,
		SingularQualifiedResource: schema.GroupResource{Resource: "node"},
		CreateStrategy:            strategy,
		UpdateStrategy:            strategy,
		DeleteStrategy:            strategy,
		TableConvertor:            rest.NewDefaultTableConvertor(resource),
	}
	err := store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: getter, AttrFunc: attributes})
	if err != nil {
		return nil, err
	}
	status := *store
	status.UpdateStrategy = nodeStrategy{scheme, names.SimpleNameGenerator, true}
	return map[string]rest.Storage{
		"nodes": store, "nodes/status": &statusStorage{&status},
	}, nil
}

// allowed is flannel's role for its user, everything for the administrators.
func allowed(_ context.Context, asked authorizer.Attributes) (authorizer.Decision, string, error) {
	who := asked.GetUser()
	verbs := map[string]sets.Set[string]{
		"": sets.New("get", "list", "watch"), "status": sets.New("patch"),
	}[asked.GetSubresource()]
	groups := sets.New(who.GetGroups()...)
	isAdmin := groups.HasAny("system:masters")
	isRole := who.GetName() == "flannel" && asked.GetResource() == "nodes" && verbs.Has(asked.GetVerb())
	if isAdmin || isRole || asked.GetPath() == "/readyz" {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// definitions say of nodes no more than that they are objects: nobody here applies.
func definitions(common.ReferenceCallback) map[string]common.OpenAPIDefinition {
	object := common.OpenAPIDefinition{Schema: spec.Schema{
		SchemaProps: spec.SchemaProps{Type: []string{"object"}},
		VendorExtensible: spec.VendorExtensible{Extensions: spec.Extensions{
			"x-kubernetes-preserve-unknown-fields": true,
		}},
	}}
	found := map[string]common.OpenAPIDefinition{}
	for _, kind := range []string{"Node", "NodeList"} {
		found["k8s.io/api/core/v1."+kind] = object
		found["io.k8s.api.core.v1."+kind] = object
	}
	return found
}

func run(ctx context.Context) error {
	etcd := flag.String("etcd-servers", "", "URL of etcd")
	port := flag.Int("secure-port", 0, "port on 127.0.0.1")
	cert := flag.String("tls-cert-file", "", "certificate")
	key := flag.String("tls-private-key-file", "", "its key")
	tokens := flag.String("token-auth-file", "", "CSV of token, user, uid and groups")
	minimal := flag.Int("min-request-timeout", 1800, "seconds that a watch lasts at least")
	flag.Parse()

	config := server.NewConfig(codecs)
	config.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	config.MinRequestTimeout = *minimal
	config.SkipOpenAPIInstallation = true
	config.EnableProfiling = false
	namer := openapi.NewDefinitionNamer(scheme)
	config.OpenAPIV3Config = server.DefaultOpenAPIV3Config(definitions, namer)

	serving := options.NewSecureServingOptions().WithLoopback()
	serving.BindAddress, serving.BindPort = net.ParseIP("127.0.0.1"), *port
	serving.ServerCert.CertKey = options.CertKey{CertFile: *cert, KeyFile: *key}
	if err := serving.ApplyTo(&config.SecureServing, &config.LoopbackClientConfig); err != nil {
		return err
	}
	users, err := tokenfile.NewCSV(*tokens)
	if err != nil {
		return err
	}
	config.Authentication.Authenticator = bearertoken.New(users)
	config.Authorization.Authorizer = authorizer.AuthorizerFunc(allowed)

	backend := storagebackend.NewDefaultConfig("/registry", codecs.LegacyCodec(corev1.SchemeGroupVersion))
	backend.Transport.ServerList = []string{*etcd}
	backend.CompactionInterval = 0
	kept := options.NewEtcdOptions(backend)
	if err := kept.ApplyTo(config); err != nil {
		return err
	}
	made, err := config.Complete(nil).New("nodeapi", server.NewEmptyDelegate())
	if err != nil {
		return err
	}
	group := server.NewDefaultAPIGroupInfo("", scheme, metav1.ParameterCodec, codecs)
	if group.VersionedResourcesStorageMap["v1"], err = nodeStorage(config.RESTOptionsGetter); err != nil {
		return err
	}
	if err := made.InstallLegacyAPIGroup(server.DefaultLegacyAPIPrefix, &group); err != nil {
		return err
	}
	return made.PrepareRun().RunWithContext(ctx)
}

func main() {
	if err := run(server.SetupSignalContext()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
