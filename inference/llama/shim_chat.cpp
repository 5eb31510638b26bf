//go:build ignore

// Chat templates and the parsers of what models answer, by llama.cpp's common
// library.

#include "shim_internal.h"

#include "chat.h"
#include "common.h"
#include "json.h"

#include <algorithm>
#include <stdexcept>

using namespace hearth;

// Templates, generated parsers and the JSON writer recurse; the caller has
// bounded how deep its input is.
static constexpr size_t CHAT_STACK = size_t(256) << 20;

struct hearth_templates : counted<HEARTH_KIND_TEMPLATES> {
    hearth_model *            model = nullptr;
    common_chat_templates_ptr templates;
};

struct hearth_parser : counted<HEARTH_KIND_PARSER> {
    common_chat_parser_params params;
};

hearth_templates * hearth_templates_new(hearth_model * m, const char * override_source, char ** err) {
    return guard<hearth_templates *>(err, nullptr, [&]() -> hearth_templates * {
        auto t   = std::make_unique<hearth_templates>();
        t->model = m;
        run_deep(CHAT_STACK, [&] { t->templates = common_chat_templates_init(m->model, override_source); });
        return t.release();
    });
}

void hearth_templates_free(hearth_templates * t) {
    delete t;
}

char * hearth_templates_caps(hearth_templates * t, char ** err) {
    return guard<char *>(err, nullptr, [&] {
        auto j = common_json::object();
        for (const auto & [name, value] : common_chat_templates_get_caps(t->templates.get())) {
            j[name] = value;
        }
        j["supports_thinking"] = common_chat_templates_support_enable_thinking(t->templates.get());
        return copy_string(j.dump_safe());
    });
}

// Calls f, and remembers which field of the request it was about if it throws.
template <typename F> static void about(int32_t * field, int32_t which, F && f) {
    *field = which;
    f();
    *field = HEARTH_FIELD_MESSAGES;
}

static common_chat_templates_inputs read_inputs(const common_json & in, int32_t * field) {
    common_chat_templates_inputs inputs;
    about(field, HEARTH_FIELD_MESSAGES, [&] { inputs.messages = common_chat_msgs_parse_oaicompat(in.at("messages")); });
    about(field, HEARTH_FIELD_TOOLS, [&] {
        if (in.contains("tools") && !in.at("tools").is_null() && in.at("tools").size() > 0) {
            inputs.tools = common_chat_tools_parse_oaicompat(in.at("tools"));
        }
    });
    about(field, HEARTH_FIELD_CHOICE, [&] { inputs.tool_choice = common_chat_tool_choice_parse_oaicompat(in.value("tool_choice", "auto")); });
    about(field, HEARTH_FIELD_SCHEMA, [&] {
        if (in.contains("json_schema") && !in.at("json_schema").is_null()) {
            auto schema = in.at("json_schema");
            if (schema.is_object() && schema.empty()) {
                schema["type"] = "object"; // an empty schema means any object
            }
            inputs.json_schema = schema.dump();
        }
    });
    about(field, HEARTH_FIELD_KWARGS, [&] {
        if (in.contains("template_kwargs") && in.at("template_kwargs").is_object()) {
            for (const auto & item : in.at("template_kwargs").items()) {
                inputs.chat_template_kwargs[item.key()] = item.value().dump();
            }
        }
    });
    inputs.parallel_tool_calls   = in.value("parallel_tool_calls", false);
    inputs.add_generation_prompt = in.value("add_generation_prompt", true);
    inputs.enable_thinking       = in.value("enable_thinking", true);
    inputs.reasoning_format      = COMMON_REASONING_FORMAT_DEEPSEEK;
    inputs.use_jinja             = true;
    return inputs;
}

static common_json render(hearth_templates * t, const common_json & in, int32_t * field) {
    const auto inputs = read_inputs(in, field);
    const auto params = common_chat_templates_apply(t->templates.get(), inputs);

    // A marker that is one token of the vocabulary has to be seen as that token.
    std::vector<llama_token> preserved;
    const auto preserve = [&](const std::string & text) -> llama_token {
        const auto ids = common_tokenize(t->model->vocab, text, false, true);
        if (ids.size() != 1) {
            return LLAMA_TOKEN_NULL;
        }
        if (std::find(preserved.begin(), preserved.end(), ids[0]) == preserved.end()) {
            preserved.push_back(ids[0]);
        }
        return ids[0];
    };
    for (const auto & text : params.preserved_tokens) {
        preserve(text);
    }
    auto triggers = common_json::array();
    for (const auto & trigger : params.grammar_triggers) {
        auto j     = common_json::object();
        auto type  = trigger.type;
        auto token = trigger.token;
        if (type == COMMON_GRAMMAR_TRIGGER_TYPE_WORD) {
            token = preserve(trigger.value);
            type  = token == LLAMA_TOKEN_NULL ? type : COMMON_GRAMMAR_TRIGGER_TYPE_TOKEN;
        }
        j["type"]  = (int64_t) type;
        j["value"] = trigger.value;
        j["token"] = (int64_t) token;
        triggers.push_back(j);
    }
    auto ids = common_json::array();
    for (const llama_token id : preserved) {
        ids.push_back((int64_t) id);
    }
    auto stops = common_json::array();
    for (const auto & stop : params.additional_stops) {
        stops.push_back(stop);
    }
    auto ends = common_json::array();
    for (const auto & end : params.thinking_end_tags) {
        ends.push_back(end);
    }
    auto spec                  = common_json::object();
    spec["format"]             = (int64_t) params.format;
    spec["generation_prompt"]  = params.generation_prompt;
    spec["parser"]             = params.parser;

    auto out                 = common_json::object();
    out["prompt"]            = params.prompt;
    out["grammar"]           = params.grammar;
    out["grammar_lazy"]      = params.grammar_lazy;
    out["triggers"]          = triggers;
    out["preserved_tokens"]  = ids;
    out["stops"]             = stops;
    out["generation_prompt"] = params.generation_prompt;
    out["supports_thinking"] = params.supports_thinking;
    out["thinking_start"]    = params.thinking_start_tag;
    out["thinking_ends"]     = ends;
    out["parser"]            = spec.dump_safe();
    return out;
}

char * hearth_templates_apply(hearth_templates * t, const char * input, int64_t len, int64_t * out_len, int32_t * field, char ** err) {
    return guard<char *>(err, nullptr, [&] {
        std::string out;
        *field = HEARTH_FIELD_MESSAGES;
        run_deep(CHAT_STACK, [&] { out = render(t, common_json::parse(std::string(input, len)), field).dump_safe(); });
        *out_len = (int64_t) out.size();
        return copy_string(out);
    });
}

hearth_parser * hearth_parser_new(const char * spec, int64_t len, int32_t parse_tool_calls, char ** err) {
    return guard<hearth_parser *>(err, nullptr, [&]() -> hearth_parser * {
        const auto j      = common_json::parse(std::string(spec, len));
        const auto format = j.at("format").get<int64_t>();
        if (format < 0 || format >= COMMON_CHAT_FORMAT_COUNT) {
            throw std::invalid_argument("unknown chat format " + std::to_string(format));
        }
        auto p                      = std::make_unique<hearth_parser>();
        p->params.format            = (common_chat_format) format;
        p->params.generation_prompt = j.value("generation_prompt", "");
        p->params.reasoning_format  = COMMON_REASONING_FORMAT_DEEPSEEK;
        p->params.parse_tool_calls  = parse_tool_calls != 0;
        const std::string parser    = j.value("parser", "");
        if (!parser.empty()) {
            run_deep(CHAT_STACK, [&] { p->params.parser.load(parser); });
        }
        return p.release();
    });
}

void hearth_parser_free(hearth_parser * p) {
    delete p;
}

char * hearth_parser_parse(hearth_parser * p, const char * text, int64_t len, int32_t partial, int64_t stack, int64_t * out_len, char ** err) {
    return guard<char *>(err, nullptr, [&] {
        std::string out;
        const auto  work = [&] {
            const auto msg = common_chat_parse(std::string(text, len), partial != 0, p->params);
            auto       j   = common_json::object();
            j["content"]           = msg.content;
            j["reasoning_content"] = msg.reasoning_content;
            auto calls = common_json::array();
            for (const auto & call : msg.tool_calls) {
                auto c         = common_json::object();
                c["id"]        = call.id;
                c["name"]      = call.name;
                c["arguments"] = call.arguments;
                calls.push_back(c);
            }
            j["tool_calls"] = calls;
            out             = j.dump_safe();
        };
        if (stack > 0) {
            run_deep((size_t) stack, work);
        } else {
            work();
        }
        *out_len = (int64_t) out.size();
        return copy_string(out);
    });
}
