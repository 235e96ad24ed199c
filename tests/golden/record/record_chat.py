#!/usr/bin/env python3
"""Record what jinja2, set up as transformers sets it up for chat templates, makes of small templates.

  python record_chat.py MODELS              writes ../text/chat.json
  python record_chat.py --files FILE...     the same for templates of your own, as JSON lines on the standard output

MODELS is what examples/models/fetch.py fetches; the template of the Qwen model is used as its file has it and not recorded. Each case is a template and what it gives: its text, or null where jinja2 refuses it. The conversations of `families` are run
through templates written for this file in the style of published families.
"""
import json
import pathlib
import sys

from importlib.metadata import version

TEXT = pathlib.Path(__file__).resolve().parent.parent / "text"
VERSIONS = {"jinja2": "3.1.6", "transformers": "5.23.0"}

# What every case of EXPRESSIONS finds set.
PRELUDE = (
    "{%- set n = 7 -%}{%- set f = 2.5 -%}{%- set t = 'Hello, World' -%}{%- set u = 'Grüße, 世界 🙂' -%}"
    "{%- set l = [3, 1, 2] -%}{%- set w = ['pear', 'Apple', 'fig'] -%}{%- set e = [] -%}"
    "{%- set d = {'b': 1, 'a': 'x', 'c': none} -%}"
    "{%- set m = [{'role': 'user', 'n': 2}, {'role': 'assistant', 'n': 1}, {'role': 'user', 'n': 3}] -%}"
)

EXPRESSIONS = """
1 + 2 * 3
(1 + 2) * 3
7 // 2
-7 // 2
7 // -2
7 % 3
-7 % 3
7 % -3
7 / 2
6 / 2
2 ** 10
2 ** -1
2 ** 3 ** 2
-2 ** 2
2 - 3 - 4
1 / 0
1 // 0
1 % 0
7.5 // 2
-7.5 % 2
0.1 + 0.2
1e3
1.5e-7
1e16
1e15
123456789.125
100000000000000000000.0
0.0001
0.00001
1_000 + 1
f * 2
f + n
n + true
true + true
+n
-f
-t
'a' + 'b'
'a' + 1
'a' * 3
3 * 'ab'
'a' * -1
[1] + [2]
[1, 2] * 2
(1, 2) + (3,)
[1] + (2,)
'a' ~ 1 ~ none ~ true
1 ~ 2 + 3
'x' ~ missing ~ 'y'
'a' + missing
n ~ [1, 'a'] ~ {'k': 1.0}
1 < 2 < 3
1 < 3 < 2
3 > 2 >= 2
1 == 1.0
true == 1
'1' == 1
none == none
missing == none
missing == other
[1, 2] == [1, 2]
[1, 2] == (1, 2)
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
'a' < 'b'
'Z' < 'a'
'a' < 1
none < 1
[1, 2] < [1, 3]
[1] < [1, 0]
1 in l
9 in l
9 not in l
'World' in t
'' in t
1 in t
'a' in d
'z' in d
'a' in missing
'a' in none
not 1 in l
not true
not not 1
not missing
1 and 2
0 and 2
0 or 'x'
'' or none
1 or missing.x
1 and 0 or 3
not 0 and 5
'yes' if n > 5 else 'no'
'yes' if n > 9 else 'no' if n > 8 else 'never'
'yes' if n > 9
('a' if false) is defined
t.upper()
t.lower()
t.title()
'hello wOrld'.capitalize()
t.swapcase()
'they\\'re bill\\'s'.title()
'  x '.strip()
'  x '.lstrip() ~ '|'
'|' ~ '  x '.rstrip()
'xxaxx'.strip('x')
'abcba'.strip('ab')
'xya'.lstrip('yx')
t.split(',')
t.split(', ', 1)
' a  b c '.split()
' a  b c '.split(none, 1)
'a,b,,c'.split(',')
'a,b,c'.split(',', 1)
'a,b,c'.rsplit(',', 1)
' a b  c '.rsplit(none, 1)
''.split()
''.split(',')
'abc'.split('')
t.startswith('Hell')
t.startswith(('x', 'H'))
t.endswith('d')
t.endswith(['d'])
t.replace('l', 'L')
t.replace('l', 'L', 2)
t.replace('', '-')
t.find('o')
t.find('zz')
t.rfind('o')
t.index('W')
t.index('zz')
t.count('l')
u.find('世')
'a-b-c'.partition('-')
'a-b-c'.rpartition('-')
'abc'.partition('-')
'abc'.rpartition('-')
', '.join(w)
', '.join(l)
'pre-x'.removeprefix('pre-')
'x.py'.removesuffix('.py')
'12'.isdigit()
''.isdigit()
'1a'.isalnum()
'ab'.isalpha()
'AB'.isupper()
'1'.isupper()
'a1'.islower()
' \\t'.isspace()
'a\\nb\\r\\nc'.splitlines()
'a\\n'.splitlines()
t.nothing
t.nothing()
t['__class__']
''.__class__.__mro__
t[0]
t[-1]
t[99] is defined
t[1:4]
t[:5]
t[7:]
t[-5:]
t[::-1]
t[::2]
t[10:2:-3]
t[5:2]
t[-100:3]
t[2:100]
u[0]
u[7:9]
u[::-1]
u|length
l[0]
l[-1]
l[5] is defined
l[1:]
l[::-1]
l[-2:]
l[:-1]
l[0:10:2]
l[::0]
l['0'] is defined
(1, 2, 3)[1:]
e[0] is defined
l.0
m[0].role
m[0]['role']
m[0].nothing is defined
m[0].nothing.more
m[-1]['n']
m.0.n
d.a
d['b']
d.c is none
d.zz is undefined
d.get('a')
d.get('zz')
d.get('zz', 'other')
d.keys()|list
d.values()|list
d.items()|list|length
d.a.b is defined
none.x is defined
missing.x
missing['x']
missing()
n()
l.append(1)
d.update({'q': 1})
l.index(2)
l.index(9)
l.count(3)
n is defined
missing is defined
missing is not defined
missing is undefined
none is none
n is not none
t is string
n is string
d is mapping
l is mapping
l is iterable
t is iterable
n is iterable
missing is iterable
l is sequence
d is sequence
n is sequence
n is number
f is number
true is number
n is integer
true is integer
f is integer
f is float
n is float
true is boolean
n is boolean
true is true
1 is true
false is false
0 is false
n is odd
n is even
n is divisibleby 7
n is divisibleby(2)
n is eq 7
n is equalto 8
n is ne 7
n is gt 6
n is lt 6
n is ge 7
n is le 6
n is in l
3 is in l
'abc' is lower
'ABC' is upper
range is callable
t is callable
n is nothing
not n is defined
n is defined and t is string
n is defined and missing is defined or true
1 + 2 is number
t|upper
t|lower
'hello wORLD-foo (bar)'|title
'hELLO'|capitalize
' x '|trim
'xxyxx'|trim('x')
n|string + 'x'
t|length
l|count
n|length
none|length
missing|length
l|first
e|first is defined
l|last
t|first
t|last
w|join(', ')
l|join
l|join('-')
m|join(', ', attribute='role')
missing|join
n|join
missing|default('x')
none|default('x')
''|default('x', true)
n|default('x')
missing|d
missing|default
missing.x|default('x')
t|replace('o', '0')
t|replace('o', '0', 1)
n|replace('7', 'x')
'42'|int
'42.9'|int
'x'|int
'x'|int(5)
3.99|int
-3.99|int
none|int
true|int
' 12 '|int
'1_0'|int
'3.5'|float
'x'|float
'x'|float(1.5)
n|float
none|float
42.55|round
42.55|round(1)
42.55|round(1, 'floor')
42.55|round(1, 'ceil')
2.5|round
3.5|round
n|round
-5|abs
-5.5|abs
t|abs
d|items|list
missing|items|list
l|items|list
t|list
l|list
d|list
(1, 2)|list
n|list
l|sort
l|sort(reverse=true)
w|sort
w|sort(case_sensitive=true)
m|sort(attribute='n')
[1, 'a']|sort
l|reverse|list
t|reverse
d|dictsort
d|dictsort(reverse=true)
{'B': 2, 'a': 3}|dictsort(false, 'value')
{'B': 2, 'a': 3}|dictsort(true)
[1, 2, 1, 3]|unique|list
['a', 'A', 'b']|unique|list
m|unique(attribute='role')|list
l|min
l|max
w|min
w|max(case_sensitive=true)
m|max(attribute='n')
e|min is defined
l|sum
m|sum(attribute='n')
l|sum(start=10)
e|sum
m|map(attribute='role')|list
m|map(attribute='zz', default='-')|list
w|map('upper')|list
w|map('replace', 'e', 'E')|join(' ')
l|map('string')|join
[0, 1, 2]|select|list
[0, 1, 2]|reject|list
l|select('odd')|list
l|reject('odd')|list
l|select('gt', 1)|list
l|select('==', 1)|list
l|select('in', [1, 2])|list
m|selectattr('role', 'equalto', 'user')|list|length
m|selectattr('zz')|list
m|selectattr('zz', 'defined')|list
m|rejectattr('role', 'equalto', 'user')|map(attribute='n')|first
'a\\nb\\n\\nc'|indent
'a\\nb\\n\\nc'|indent(2)
'a\\nb\\n\\nc'|indent(2, true)
'a\\nb\\n\\nc'|indent(2, blank=true)
'a\\nb\\n'|indent('> ')
''|indent(2, true)
t|safe
d|tojson
l|tojson
u|tojson
'a"b\\\\c\\n\\t\\u0001/\\x7f'|tojson
d|tojson(indent=2)
{'a': [1, {'b': []}], 'c': {}}|tojson(indent=4)
{'b': 1, 'a': 2}|tojson(sort_keys=true)
l|tojson(separators=(',', ':'))
u|tojson(ensure_ascii=true)
[1.0, 1e20, true, none, 'x', (1, 2)]|tojson
{1: 'a', none: 'b', true: 'c'}|tojson
missing|tojson
t|nothing
t|upper|lower|title
-n|abs
n|string|length
(n|string)[0]
[1, 'a', 1.0, none, true, (1,), (), {'k': 'v'}, [], "it's", 'say "x"', 'both \\' "', '\\n\\\\']
['世', '\\u00a0', '\\u200b', '\\x01']
{}
()
(1,)
1, 2
[1, 2,]
{'a': 1,}
{'a': 1, 'a': 2}
{[1]: 2}
'con' 'cat'
"dq \\" \\x41\\u00e9\\101\\q"
'\\U0001F642'
dict(a=1, b='x')
dict({'a': 1}, b=2)
range(3)|list
range(1, 4)|list
range(10, 0, -3)|list
range(0)|list
range(2, 2)|list
range(3)|length
range(1, 10, 0)
range('a')
range(1000000)|length
namespace(a=1).a
raise_exception('no')
strftime_now('%%')
true and True and not False and none == None
n if n
'%s' % 'x' if false else 'kept'
t.split(', ')[1][0]
m|map(attribute='role')|unique|sort|join('/')
(m|selectattr('role', 'equalto', 'user')|list)[0].n
'a' in ['a'] and 'b' not in 'abc'
'a' in 'abc' == true
[[1, 2], [3]]|map('sum')|list
[[1, 2], [3]]|map('first')|list
{'a': {'b': {'c': 3}}}.a.b['c']
""".strip("\n").split("\n")

STATEMENTS = [
    "{% if n > 5 %}big{% elif n > 2 %}middle{% else %}small{% endif %}",
    "{% if n > 9 %}big{% elif n > 2 %}middle{% else %}small{% endif %}",
    "{% if n > 9 %}big{% elif n > 8 %}middle{% else %}small{% endif %}",
    "{% if missing %}a{% endif %}b",
    "{% for x in l %}{{ x }}{% endfor %}",
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}",
    "{% for x in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for x in l %}{{ loop['index'] }}{% endfor %}",
    "{% for x in e %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in missing %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in none %}{{ x }}{% endfor %}",
    "{% for x in n %}{{ x }}{% endfor %}",
    "{% for x in l if x > 1 %}{{ x }}{{ loop.index }}{{ loop.length }}{% endfor %}",
    "{% for x in l if x > 9 %}{{ x }}{% else %}none{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in d|dictsort %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}",
    "{% for (a, b) in [[1, 2], [3, 4]] %}{{ a }}{{ b }};{% endfor %}",
    "{% for a, b in [[1, 2], [3]] %}{{ a }}{{ b }};{% endfor %}",
    "{% for c in 'abc' %}[{{ c }}]{% endfor %}",
    "{% for x in 1, 2, 3 %}{{ x }}{% endfor %}",
    "{% for x in l %}{% for y in l %}{{ loop.depth }}{{ x * y }} {% endfor %}{{ loop.depth }}{% endfor %}",
    "{% for x in [1, 2, 3, 4] %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 4 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in range(3) %}{% set y = x %}{% endfor %}{{ y is defined }}",
    "{% set y = 0 %}{% for x in l %}{% set y = y + x %}{{ y }}{% endfor %}{{ y }}",
    "{% set y = 0 %}{% if true %}{% set y = 1 %}{% endif %}{{ y }}",
    "{% set ns = namespace(y=0) %}{% for x in l %}{% set ns.y = ns.y + x %}{% endfor %}{{ ns.y }}",
    "{% set ns = namespace() %}{{ ns.y is defined }}{% set ns.y = 1 %}{{ ns.y }}",
    "{% set ns = namespace(a=1) %}{{ ns['a'] }}",
    "{% set d.x = 1 %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a, b = [1] %}{{ a }}{{ b }}",
    "{% set x %}a{{ n }}{% endset %}{{ x }}|{{ x|length }}",
    "{% set x | upper | trim %} a{{ t }} {% endset %}[{{ x }}]",
    "{% set x = 1, 2 %}{{ x }}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}",
    "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q is defined }}",
    "{% filter upper %}a{{ t }}{% endfilter %}",
    "{% filter replace('a', 'b') | upper %}aa{% endfilter %}",
    "{% macro f(a, b=2, c='x') %}<{{ a }},{{ b }},{{ c }}>{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(1, c='y') }}{{ f(c=1, a=2) }}",
    "{% macro f(a, b, c=0) %}<{{ a }},{{ b }},{{ c }}>{% endmacro %}{{ f(*[1, 2]) }}{{ f(1, **{'b': 2}) }}{{ f(*l) }}{{ f(*w, c=1) }}",
    "{% set x = namespace(**d) %}{{ x.b }}{{ dict(z=1, **d)|tojson }}",
    "{% macro f(a) %}<{{ a }}>{% endmacro %}{{ f() }}",
    "{% macro f(a) %}{{ a is defined }}{% endmacro %}{{ f() }}",
    "{% macro f(a) %}x{% endmacro %}{{ f(1, 2) }}",
    "{% macro f(a) %}x{% endmacro %}{{ f(b=2) }}",
    "{% macro f(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}",
    "{% macro f(k) %}{% if k > 0 %}{{ k }}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(4) }}",
    "{% macro f() %}{{ n }}{% endmacro %}{% set n = 8 %}{{ f() }}",
    "{% macro f() %}{% set n = 9 %}{{ n }}{% endmacro %}{{ f() }}{{ n }}",
    "{% macro f() %}{{ x is defined }}{% endmacro %}{% for x in l %}{{ f() }}{% endfor %}",
    "{% for x in l %}{% macro f() %}{{ x }}{% endmacro %}{{ f() }}{% endfor %}",
    "{% macro f() %} a {% endmacro %}{{ f()|trim }}|{{ f() ~ 'b' }}|{{ f()|length }}",
    "{% macro outer() %}{% macro inner(x) %}({{ x }}){% endmacro %}{{ inner(1) }}{% endmacro %}{{ outer() }}",
    "{% raw %}{{ not }} {% this %}{% endraw %}x",
    "{%- raw -%}  {{ a }}  {%- endraw -%}  x",
    "a\n{% raw %}\n b\n  {% endraw %}\nc",
    "{# comment #}x{#- more -#} y",
    "a\n  {# comment #}\nb",
    "{% generation %}a{{ n }}{% endgeneration %}",
    "{% generation %}\n  {{ n }}\n{% endgeneration %}\nb",
    "a\n  {% if true %}\n  b\n  {% endif %}\nc",
    "a\n  {%+ if true %}\n  b\n  {%+ endif %}\nc",
    "a\n  {%- if true -%}\n  b\n  {%- endif -%}\n  c",
    "a\n  {% if true +%}\n  b\n  {% endif %}\nc",
    "a  {% if true %}  b  {% endif %}  c",
    "a\n\t{{ n }}\n  {{- n -}}  \n b",
    "a \n\n  {{- n }}\n\n{% if true %}\n\n x{% endif %}",
    "{%- for x in l -%}\n  {{ x }},\n{%- endfor %}",
    "{% for x in l %}\n  {{ x }}\n{% endfor %}\n",
    "{% for x in l %}\n  {{- x }}\n{%- endfor %}\n",
    "  {% set a = 1 %}\n  {{ a }}\n",
    "trailing\n",
    "trailing\n\n",
    "a\r\nb\rc\n{% if true %}\r\nd{% endif %}",
    "{{ '{{' }}{{ '%}' }}{{ \"}}\" }}",
    "{{ {'a': {'b': 1}}['a'] }}",
    "{{ {'a': {'b': 1}} }}",
    "{{-1}}",
    "{{ - 1 }}",
    "{{ n -}}   \n x",
    "{{n}}{{n+1}}",
    "text { not a tag } {x} %} }} #}",
    "{% if n is defined and n %}a{% endif %}",
    "{% if not (n and missing) %}a{% endif %}",
    "{% if n == 7 and ('a' in d or missing.x) %}a{% endif %}",
    "{{ n }}{% set n = 1 %}{{ n }}",
    "{% for m in m %}{{ m.role }} {% endfor %}{{ m|length }}",
    "{% set x = m[-1] %}{{ x.role }}{{ x['n'] + 1 }}",
    "{% for x in m[1:] %}{{ x.n }}{% endfor %}",
    "{% for x in m[::-1] %}{{ x.n }}{% endfor %}",
    "{% for x in m|selectattr('role', 'equalto', 'user') %}{{ x.n }}{% endfor %}",
    "{% if %}{% endif %}",
    "{% if true %}",
    "{% endif %}",
    "{% for x l %}{% endfor %}",
    "{{ n",
    "{% set %}",
    "{{ 'a }}",
    "{{ (1 }}",
    "{{ 1) }}",
    "{{ 1 + }}",
    "{{ }}",
    "{{ n n }}",
    "{# open",
    "{% raw %}open",
    "{% nothing %}",
    "{{ n ? 1 }}",
    "{{ f(a=1, 2) }}",
    "{{ t|replace('l') }}",
    "{{ t|replace('l', 'b', 1, 2) }}",
    "{{ t.replace('l') }}",
    "{{ raise_exception('x') if n == 1 else 'fine' }}",
]

# Templates in the style of published families; each was written for this file.
FAMILIES = {
    "chatml": """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful assistant.<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}
""",
    "turns": """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first_user_prefix = messages[0]['content'] | trim + '\n\n' -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Roles must take turns: user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- set role = "model" if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}{%- if item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}{%- endfor -%}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<start_of_turn>model\n' }}
{%- endif -%}
""",
    "instruct": """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.tool_calls is defined) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, roles must alternate user/assistant") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported") }}
    {%- endif %}
{%- endfor %}
""",
    "headers": """{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- bos_token }}{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\n\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
""",
    "thinking": """{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- if messages|length > 0 and messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}{{- message.content }}{{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}""",
    "macros": """{%- macro turn(role, body, end='<|end|>') -%}
<|{{ role }}|>{{ body | trim }}{{ end }}
{%- endmacro -%}
{%- set names = {'system': 'developer', 'user': 'human', 'assistant': 'bot'} -%}
{%- for message in messages -%}
{%- generation -%}{{ turn(names.get(message.role, message.role), message.content, end='<|end|>' if not loop.last else '<|return|>') }}{%- endgeneration -%}
{%- else -%}nothing was said{%- endfor -%}
{%- if add_generation_prompt -%}{{ turn('bot', '', '') }}{%- endif -%}
""",
}

CONVERSATIONS = {
    "question": [("user", "Why is the sky blue?")],
    "system": [("system", "  Answer briefly. "), ("user", "Hi")],
    "turns": [("user", "Hi"), ("assistant", " Hello! "), ("user", "  How are you?\n"), ("assistant", "Fine.\n\nAnd you?"), ("user", "Well.")],
    "system_turns": [("system", "Be kind."), ("user", "a"), ("assistant", "<think>\nhm\n</think>\n\nb"), ("user", "c")],
    "unicode": [("user", "Grüße, 世界 🙂 \u00a0e\u0301 \u200b")],
    "empty": [("user", "")],
    "twice": [("user", "a"), ("user", "b")],
    "tool": [("user", "a"), ("assistant", "<tool_call>x</tool_call>"), ("tool", '{"n": 1}'), ("tool", "2")],
    "ends_with_answer": [("user", "a"), ("assistant", "<think>one\ntwo</think>b")],
    "looks_like_tags": [("user", "{{ messages }} {% if x %} <|im_end|> {# #} \\n")],
    "nobody": [],
}


def environment():
    """As transformers.utils.chat_template_utils makes it; its own function is used where it is there."""
    import transformers.utils.chat_template_utils as utils

    return utils._cached_compile_jinja_template


def render(template, **variables):
    """The text of a template, or None where it is refused."""
    try:
        return environment()(template).render(**variables)
    except Exception as error:
        print(f"{type(error).__name__}: {error}: {template[-70:]!r}", file=sys.stderr)
        return None


def conversations():
    for name, turns in CONVERSATIONS.items():
        yield name, [{"role": role, "content": content} for role, content in turns]


def families(templates):
    for name, template in templates.items():
        cases = []
        for conversation, messages in conversations():
            for prompt in (True, False):
                # What transformers passes when a caller gives no tools and no documents.
                text = render(template, messages=messages, tools=None, documents=None, add_generation_prompt=prompt,
                              bos_token="<s>", eos_token="</s>")
                cases.append({"messages": messages, "add_generation_prompt": prompt, "text": text})
        yield {"name": name, "template": template, "cases": cases}


def main():
    for package, wanted in VERSIONS.items():
        if version(package) != wanted:
            sys.exit(f"{package} {wanted} is needed, not {version(package)}")
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--files":
        texts = {path: pathlib.Path(path).read_text() for path in sys.argv[2:]}
        for family in families(texts):
            print(json.dumps(family, ensure_ascii=False))
        return
    expressions = [[e, render(PRELUDE + "{{ " + e + " }}")] for e in EXPRESSIONS]
    statements = [[s, render(PRELUDE + s)] for s in STATEMENTS]
    from gguf import GGUFReader

    model = pathlib.Path(sys.argv[1]) / "qwen25-coder-0.5b-q4_k_m.gguf"
    own = GGUFReader(model).fields["tokenizer.chat_template"].contents()
    recorded = {"prelude": PRELUDE, "expressions": expressions, "statements": statements,
                "families": list(families(FAMILIES)), "qwen": next(families({"qwen": own}))["cases"]}
    (TEXT / "chat.json").write_text(json.dumps(recorded, ensure_ascii=False, indent=1) + "\n")
    print(len(expressions), "expressions,", len(statements), "statements,", len(FAMILIES), "families")


main()
