package mcp

// The methods of all revisions.
const (
	Initialize          = "initialize"               // legacy
	Ping                = "ping"                     // legacy
	Discover            = "server/discover"          // modern
	SubscriptionsListen = "subscriptions/listen"     // modern
	ToolsList           = "tools/list"               //
	ToolsCall           = "tools/call"               //
	ResourcesList       = "resources/list"           //
	TemplatesList       = "resources/templates/list" //
	ResourcesRead       = "resources/read"           //
	ResourcesSub        = "resources/subscribe"      // legacy
	ResourcesUnsub      = "resources/unsubscribe"    // legacy
	PromptsList         = "prompts/list"             //
	PromptsGet          = "prompts/get"              //
	Complete            = "completion/complete"      //
	SetLevel            = "logging/setLevel"         // legacy

	// The server asks the client: requests of the legacy era, and input requests
	// inside a result of the modern one.
	SamplingCreate    = "sampling/createMessage"
	ElicitationCreate = "elicitation/create"
	RootsList         = "roots/list"

	// Tasks: core in 2025-11-25, an extension later.
	TasksGet    = "tasks/get"
	TasksUpdate = "tasks/update"
	TasksResult = "tasks/result"
	TasksList   = "tasks/list"
	TasksCancel = "tasks/cancel"
)

// The notifications of all revisions.
const (
	Initialized          = "notifications/initialized"
	Cancelled            = "notifications/cancelled"
	Progress             = "notifications/progress"
	LogMessage           = "notifications/message"
	ResourceUpdated      = "notifications/resources/updated"
	ResourcesListChanged = "notifications/resources/list_changed"
	ToolsListChanged     = "notifications/tools/list_changed"
	PromptsListChanged   = "notifications/prompts/list_changed"
	RootsListChanged     = "notifications/roots/list_changed"
	ElicitationComplete  = "notifications/elicitation/complete"
	TaskStatus           = "notifications/tasks/status"
	TaskChanged          = "notifications/tasks"
	Acknowledged         = "notifications/subscriptions/acknowledged"
)

// methods gives a method of a message the memory of its constant.
var methods = func() map[string]string {
	known := make(map[string]string)
	for _, m := range []string{
		Initialize, Ping, Discover, SubscriptionsListen, ToolsList, ToolsCall, ResourcesList, TemplatesList, ResourcesRead,
		ResourcesSub, ResourcesUnsub, PromptsList, PromptsGet, Complete, SetLevel, SamplingCreate, ElicitationCreate, RootsList,
		TasksGet, TasksUpdate, TasksResult, TasksList, TasksCancel, Initialized, Cancelled, Progress, LogMessage, ResourceUpdated,
		ResourcesListChanged, ToolsListChanged, PromptsListChanged, RootsListChanged, ElicitationComplete, TaskStatus, TaskChanged, Acknowledged,
	} {
		known[m] = m
	}
	return known
}()

// LegacyOnly reports whether method was removed by the modern revision, whose
// servers answer it with CodeMethodNotFound.
func LegacyOnly(method string) bool {
	switch method {
	case Initialize, Ping, SetLevel, ResourcesSub, ResourcesUnsub, TasksList, TasksResult,
		SamplingCreate, ElicitationCreate, RootsList, Initialized, RootsListChanged, ElicitationComplete:
		return true
	default:
		return false
	}
}

// ModernOnly reports whether method first came with the modern revision.
func ModernOnly(method string) bool {
	switch method {
	case Discover, SubscriptionsListen, Acknowledged, TasksUpdate, TaskChanged:
		return true
	default:
		return false
	}
}

// AsksClient reports whether method is one that a server asks a client.
func AsksClient(method string) bool {
	switch method {
	case SamplingCreate, ElicitationCreate, RootsList, Ping:
		return true
	default:
		return false
	}
}

// TakesInput reports whether a modern server may answer method with an
// input_required result.
func TakesInput(method string) bool {
	return method == ToolsCall || method == PromptsGet || method == ResourcesRead
}

// NameField is the member of params that the Mcp-Name header repeats; "" if the
// method has none.
func NameField(method string) string {
	switch method {
	case ToolsCall, PromptsGet:
		return "name"
	case ResourcesRead:
		return "uri"
	case TasksGet, TasksUpdate, TasksCancel:
		return "taskId"
	default:
		return ""
	}
}

// The keys of _meta that the protocol reserves.
const (
	MetaProtocolVersion    = "io.modelcontextprotocol/protocolVersion"    // every modern request
	MetaClientCapabilities = "io.modelcontextprotocol/clientCapabilities" // every modern request
	MetaClientInfo         = "io.modelcontextprotocol/clientInfo"
	MetaLogLevel           = "io.modelcontextprotocol/logLevel"
	MetaServerInfo         = "io.modelcontextprotocol/serverInfo" // modern results
	MetaSubscriptionID     = "io.modelcontextprotocol/subscriptionId"
	MetaRelatedTask        = "io.modelcontextprotocol/related-task"
	MetaProgressToken      = "progressToken"
	MetaTraceParent        = "traceparent"
	MetaTraceState         = "tracestate"
	MetaBaggage            = "baggage"
)

// Meta is a member of the _meta object of params or of a result; nil if there is
// none.
func Meta(object []byte, key string) []byte { return Field(object, "_meta", key) }

// WithoutProtocolMeta is params or a result without what only modern peers say of
// themselves in _meta: for a legacy reader. An empty _meta goes with it.
func WithoutProtocolMeta(object []byte) []byte {
	if Field(object, "_meta") == nil {
		return object
	}
	for _, key := range []string{MetaProtocolVersion, MetaClientCapabilities, MetaClientInfo, MetaLogLevel, MetaServerInfo, MetaSubscriptionID} {
		object = WithoutField(object, "_meta", key)
	}
	if string(Field(object, "_meta")) == "{}" {
		object = WithoutField(object, "_meta")
	}
	return object
}
