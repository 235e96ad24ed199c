#!/usr/bin/env python3
"""Write corpus.txt: texts of every kind for the tokenizer tests. Deterministic; the seeds below are our own sentences.

One text per line, ended by a line feed. Inside a text a backslash is written `\\\\`, a line feed `\\n`, a tab `\\t`, a
carriage return `\\r`, and any other control, format-breaking or line-separating character `\\u{hex}`. All else is literal.
"""
import pathlib
import random
import unicodedata

SENTENCES = {
    "english": """The quick brown fox jumps over the lazy dog.
I'd have gone if you'd asked; they're not coming, we've heard, and it's late.
She sells sea-shells by the sea-shore, doesn't she?
Please send the invoice to Dr. O'Neill by 5 p.m. on Friday, 3 March.
"Stop!" he cried. 'Why?' she asked. “Because,” he said, “it’s over.”
The temperature fell to -12.5 °C (9.5 °F) overnight – a record.
antidisestablishmentarianism and floccinaucinihilipilification
ALL CAPITALS, camelCaseWords, snake_case_words, kebab-case-words, Title Case Words""",
    "german": """Die Straße war naß, und größere Äpfel fielen über die Mauer.
Donaudampfschifffahrtsgesellschaftskapitän ist ein langes Wort.
Ich weiß nicht, ob er's wirklich gesagt hat, aber sie glaubt's.
Übermorgen fährt der Zug um 17:45 Uhr vom Gleis 9¾ ab.""",
    "french": """L'été dernier, nous avons mangé des crêpes à l'île d'Oléron.
Où est-ce qu'il a garé sa voiture ? Aujourd'hui, c'est défendu !
« Ça va ? » demanda-t-elle. Le cœur du bœuf coûte 12,50 €.
Les élèves préféraient naïvement l'œuvre de Noël.""",
    "spanish": """¿Dónde está el baño? ¡Qué pingüino más pequeño!
El niño comió jalapeños mañana por la mañana, según su tía.
La cigüeña voló sobre Logroño a las 8:30.""",
    "portuguese": """Não há razão para a irmã não vir à reunião de amanhã.
Os aviões pousaram às três; os pães estão quentes.
Você já viu o avô da Conceição?""",
    "italian": """Perché la città è così bella? Già, è più caldo che giù.
L'amica dell'ingegnere non c'è: è andata all'università.""",
    "dutch": """De zeeën zijn ruw, en 's avonds drinken we koffie met een koekje.
Zij vroeg: "Heb je m'n fiets gezien?" Ĳsland en ijs.""",
    "polish": """Zażółć gęślą jaźń, a potem chrząszcz brzmi w trzcinie.
Wczoraj Łukasz kupił źrebię w Szczebrzeszynie za 1 234,56 zł.""",
    "czech": """Příliš žluťoučký kůň úpěl ďábelské ódy.
Řehoř řekl, že třistatřicettři stříbrných stříkaček stříkalo.""",
    "hungarian": """Árvíztűrő tükörfúrógép; megszentségteleníthetetlenségeskedéseitekért.
Az öt hűtőházból kértünk színhúst.""",
    "turkish": """Pijamalı hasta yağız şoföre çabucak güvendi. İstanbul'da ILIK bir gün.
Çekoslovakyalılaştıramadıklarımızdan mısınız?""",
    "vietnamese": """Tiếng Việt có sáu thanh điệu; người ta ăn phở vào buổi sáng.
Đường đến trường hôm nay rất đông, nhưng tôi không vội.""",
    "icelandic": """Kæmi ný öxi hér ykist þjófum nú bæði víl og ádrepa.""",
    "finnish": """Törkylempijävongahdus; hääyöaie on outo sana, eikö olekin?""",
    "swedish": """Flygande bäckasiner söka hwila på mjuka tuvor i Åmål.""",
    "romanian": """Muzicologă în bej vând whisky și tequila, preț fix; ţară cu sedilă.""",
    "lithuanian": """Įlinkdama fechtuotojo špaga sublykčiojusi pragręžė apvalų arbūzą.""",
    "esperanto": """Eĥoŝanĝo ĉiuĵaŭde, diris la maljuna instruisto.""",
    "swahili": """Mtoto wa jirani alikuja nyumbani kwetu jana jioni kula chakula.""",
    "indonesian": """Anak-anak itu berlari-lari di halaman sekolah sambil tertawa-tawa.""",
    "yoruba": """Ọmọ náà lọ sí ilé-ìwé ní òwúrọ̀, ó sì padà ní ìrọ̀lẹ́.""",
    "russian": """Съешь же ещё этих мягких французских булок, да выпей чаю.
Широкая электрификация южных губерний даст мощный толчок подъёму.
В 1861 г. отменили крепостное право; «Ну и что?» — спросил он.""",
    "ukrainian": """Щастям б'ється серце, коли їжак з'їв ґанок її під'їзду.
Чуєш їх, доцю, га? Кумедна ж ти, прощайся без ґольфів!""",
    "bulgarian": """Ах, чудна българска земьо, полюшвай цъфтящи жита.""",
    "serbian": """Љубазни фењерџија чађавог лица хоће да ми покаже штос.""",
    "kazakh": """Қазақ тілі — әлемдегі көне тілдердің бірі, ұлттың рухы.""",
    "mongolian": """Монгол улсын нийслэл хот бол Улаанбаатар, өвөл нь хүйтэн.""",
    "greek": """Ξεσκεπάζω την ψυχοφθόρα βδελυγμία, είπε ο Οδυσσέας.
Ταχίστη αλώπηξ βαφής ψημένη γη, δρασκελίζει υπέρ νωθρού κυνός· τι;""",
    "greek-polytonic": """Μῆνιν ἄειδε, θεά, Πηληϊάδεω Ἀχιλῆος οὐλομένην.""",
    "armenian": """Բարև ձեզ, ինչպե՞ս եք։ Այսօր եղանակը շատ լավն է։""",
    "georgian": """ქართული ენა ძალიან ლამაზია, ხოლო თბილისი დიდი ქალაქია.
დღეს კარგი ამინდია და ბავშვები ეზოში თამაშობენ.""",
    "hebrew": """שלום עולם, מה שלומך היום? אני גר בירושלים כבר עשר שנים.
דג סקרן שט בים מאוכזב ולפתע מצא חברה.
בְּרֵאשִׁית בָּרָא אֱלֹהִים אֵת הַשָּׁמַיִם וְאֵת הָאָרֶץ׃""",
    "arabic": """نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر.
السَّلَامُ عَلَيْكُمْ، كَيْفَ حَالُكَ؟ الكتاب رقم ٤٢ بسعر ٣٫٥٠ دينار.
ذهب الأطفال إلى المدرسة صباحًا، ولم يعودوا حتى المساء.""",
    "persian": """می‌خواهم به خانه‌ی دوستم بروم؛ کتاب‌ها را برداشته‌ام. شمارهٔ ۱۲۳.
هر که طاووس خواهد جور هندوستان کشد.""",
    "urdu": """مجھے آج بازار جانا ہے، کیا آپ میرے ساتھ چلیں گے؟""",
    "hindi": """ऋषियों को सताने वाले दुष्ट राक्षसों के राजा का सर्वनाश हुआ।
भारत की राजधानी नई दिल्ली है, और यहाँ की जनसंख्या १२३४५ है।
क्या आपने क्षत्रिय, ज्ञान और श्री शब्द पढ़े हैं?""",
    "marathi": """मला उद्या पुण्याला जायचे आहे; पाऊस पडेल का?""",
    "nepali": """नेपाल हिमालको काखमा बसेको सुन्दर देश हो।""",
    "bengali": """আমি বাংলায় গান গাই; আজ বৃষ্টি হচ্ছে, তাই বাড়িতে আছি।""",
    "punjabi": """ਮੈਂ ਪੰਜਾਬੀ ਬੋਲਦਾ ਹਾਂ ਅਤੇ ਚਾਹ ਪੀਂਦਾ ਹਾਂ।""",
    "gujarati": """હું ગુજરાતી બોલું છું, અને મને ચા ગમે છે.""",
    "tamil": """யாமறிந்த மொழிகளிலே தமிழ்மொழி போல் இனிதாவது எங்கும் காணோம்.
இன்று மழை பெய்கிறது; நான் வீட்டில் இருக்கிறேன்.""",
    "telugu": """నేను తెలుగు మాట్లాడతాను, హైదరాబాద్ లో ఉంటాను.""",
    "kannada": """ನಾನು ಕನ್ನಡ ಮಾತನಾಡುತ್ತೇನೆ ಮತ್ತು ಬೆಂಗಳೂರಿನಲ್ಲಿದ್ದೇನೆ.""",
    "malayalam": """എനിക്ക് മലയാളം അറിയാം; ഞാൻ കൊച്ചിയിൽ താമസിക്കുന്നു.""",
    "sinhala": """මම සිංහල කතා කරනවා; අද කාලගුණය හොඳයි.""",
    "thai": """เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน
วันนี้อากาศดีมาก ฉันจะไปตลาดกับเพื่อน ๆ ตอนบ่ายสามโมง
ราคา ๑๒๓ บาท ไม่แพงเลย!""",
    "lao": """ພາສາລາວເປັນພາສາທີ່ສວຍງາມ ແລະ ຂ້ອຍມັກກິນເຂົ້າໜຽວ.""",
    "khmer": """ខ្ញុំរៀនភាសាខ្មែរនៅភ្នំពេញ ហើយវាពិបាកណាស់។""",
    "burmese": """မြန်မာဘာသာစကားသည် လှပသော ဘာသာစကားဖြစ်သည်။""",
    "tibetan": """བོད་ཀྱི་སྐད་ཡིག་ནི་སྙན་པོ་ཡིན།""",
    "amharic": """ሰላም ለዓለም፤ ዛሬ አየሩ ጥሩ ነው።""",
    "cherokee": """ᎣᏏᏲ ᎠᏂᏴᏫ, ᏙᎯᏧ? ᏩᏙ.""",
    "korean": """키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.
오늘은 날씨가 좋아서 친구와 함께 한강에 갔어요. 정말 즐거웠습니다!
제 전화번호는 010-1234-5678이고, 이메일은 min@example.kr입니다.
ㅋㅋㅋㅋ 진짜? ㅠㅠ 대박…""",
    "japanese": """いろはにほへと ちりぬるを わかよたれそ つねならむ。
東京の天気は晴れ、気温は二十五度です。明日は雨が降るでしょう。
カタカナとひらがな、漢字とｱﾙﾌｧﾍﾞｯﾄ、全角ＡＢＣ１２３も使います。
「すみません、駅はどこですか？」と彼は聞いた。ヴァイオリン・コンサート""",
    "chinese": """天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。
我今天早上八点半去学校，路上遇到了老朋友王小明。
繁體中文：臺灣的圖書館裡有許多舊書，請勿喧嘩！
他说：“2024年12月31日，气温为−5℃。”真的吗？𠀀𠮷𪚥""",
}

CODE = r'''def add(a, b):\n    return a + b
for (int i = 0; i < n; ++i) { sum += a[i] * b[i]; }
fn main() -> Result<(), Box<dyn Error>> { println!("{:?}", x?); Ok(()) }
let x = vec!['a', 'b'].iter().map(|c| c.to_ascii_uppercase()).collect::<String>();
const f = async (x) => { await g(x ?? `${y}`); return x?.z !== undefined; };
SELECT id, COUNT(*) FROM "users" WHERE name LIKE '%a_b%' GROUP BY 1 HAVING COUNT(*) > 10;
<div class="row" id='main'><p>Hello &amp; welcome&nbsp;!</p><br/></div>
{"name": "emberform", "list": [1, 2.5, -3e10, null, true], "nested": {"k": "v\\n"}}
#include <stdio.h>\nint main(void)\n{\n\tprintf("%d\\n", 42);\n\treturn 0;\n}
public static void main(String[] args) { System.out.println("x" + 1); } // TODO: fix
if [[ -f "$HOME/.bashrc" && $? -eq 0 ]]; then echo "${arr[@]}" | sed 's/a/b/g' > /dev/null 2>&1; fi
@decorator(x=1)\nclass A(B, metaclass=C):\n\t"""Doc."""\n\n\tdef __init__(self, *args, **kwargs): ...
\\begin{equation} E = mc^2 \\quad \\forall x \\in \\mathbb{R} \\end{equation}
^(?:[a-z0-9!#$%&'*+/=?^_`{|}~-]+)@(?:[a-z0-9-]+\\.)+[a-z]{2,}$
0xDEADBEEF 0b1010 0o755 1_000_000 1e-9 .5f 0x1p-3 'c' '\\0' "\\u00e9"
main :: IO ()\nmain = mapM_ print $ filter even [1..10] >>= \\x -> [x, x*x]
.a > .b::before{content:"\\201C";color:#ff00aa80!important;margin:-1px 0 auto}
func (s *Server) Serve(ctx context.Context) error {\n\tdefer s.mu.Unlock()\n\treturn nil\n}
diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-old\n+new
| a | b |\n|---|---|\n| 1 | **2** |\n\n- [x] done\n- [ ] ~~not~~ `code`
        deeply indented\n            and more\n\t\tand tabs'''.split("\n")

NUMBERS = """0 1 22 333 4444 55555 666666 7777777 88888888 1234567890
3.14159 -2.71828 +1.41421 1,234,567.89 1.234.567,89 1 234 567 1'000'000
2024-02-29 29/02/2024 23:59:59 2024-02-29T23:59:59.999Z ½ ⅓ ¾ ² ³ ₂ ① ⑳ Ⅷ ⅷ ㊿
٠١٢٣٤٥٦٧٨٩ ०१२३४५६७८९ ๐๑๒๓๔๕๖๗๘๙ ０１２３４５６７８９ 〇一二三四五六七八九十百千万億
$19.99 €5 £3 ¥1000 ₩5000 ₹99 ₿0.01 5% 10‰ 100°
+1 (555) 123-4567 192.168.0.1:8080 ::1 fe80::1%eth0 deadbeef-0000-4000-8000-000000000000
1st 2nd 3rd 4th 21st 10x 5G H2O CO2 R2D2 x86_64 utf8 B2B""".split("\n")

URLS = """https://www.example.com/path/to/page.html?query=value&x=%20y#section-2
http://user:pass@host.example.org:8080/~home/;v=1.0?a[]=1&b=ü
ftp://files.example.net/pub/README.txt mailto:someone+tag@example.co.uk
www.example.com/a_b-c.d?e=f C:\\\\Users\\\\Name\\\\file.txt /usr/local/lib/libx.so.1.2.3
git@github.com:owner/repo.git s3://bucket/key file:///tmp/x.log data:text/plain;base64,SGVsbG8=
@someone #hashtag #два #日本語 r/rust u/name 10.1000/xyz123 arXiv:1706.03762""".split("\n")

SPECIALS = """<bos> <eos> <pad> <unk> <s> </s> <mask> <2mass> [@BOS@] <unused0> <unused98> <start_of_turn> <end_of_turn>
[CLS] [SEP] [PAD] [UNK] [MASK] [unused1] [cls] [Sep] [ CLS ] [CLS][SEP] x[MASK]y
<|im_start|> <|im_end|> <|endoftext|> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|repo_name|> <|file_sep|> <|box_start|>
<|im_start|>system\\nYou are helpful.<|im_end|>\\n<|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n
<bos><start_of_turn>user\\nHello<end_of_turn>\\n<start_of_turn>model\\n
< bos> <bos > <BOS> <|IM_START|> <|im_start |> |im_start|> <|im_start <|im_start|><|im_start|> <<bos>> <bos<bos>>
<0x00> <0x0A> <0xE2> <0xFF> <0xGG> ▁ ▁▁ ▁the Ġthe Ċ ##ing # ## ### <tool_call> </tool_call> <think> </think>
text<eos>text <eos> text</s>text </s> text<|endoftext|>text [MASK]ed un[UNK]nown 1[SEP]2
<table> <td> <h1> <b> <i> <sub> <code> <br> </table> <html> <strong> <blockquote> <caption>
<image_soft_token> <start_of_image> <end_of_image> <|vision_start|> <|image_pad|> <|object_ref_start|> <｜begin▁of▁sentence｜>""".split("\n")

EMOJI = """😀😃😄😁 😂🤣 🥲 ☺️ ☺ 😊 🙂🙃
👍👍🏻👍🏽👍🏿 👋🏾 🤝🏼 ✌️✌🏿
👨‍👩‍👧‍👦 👩🏽‍💻 🏳️‍🌈 🏴‍☠️ 🧑‍🚀 ❤️‍🔥 👁️‍🗨️
🇩🇪🇫🇷🇯🇵🇰🇷🇺🇸 🇪🇺 🏴󠁧󠁢󠁥󠁮󠁧󠁿 🇦
1️⃣2️⃣#️⃣*️⃣ ©️ ™️ ℹ️ ⌚️ ▶️ ♀️ ☑️
I ❤️ Rust 🦀, pizza 🍕 and 🎉!!! ok👌🏼 so🔥good
♠♥♦♣ ★☆ ☀☁☂☃ ✓✗ ←↑→↓ ⇐⇒ ∀∃∈∉ ∑∏√∞ ≤≥≠≈ ⊂⊃∪∩
𝓗𝓮𝓵𝓵𝓸 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝕎𝕠𝕣𝕝𝕕 𝟘𝟙𝟚 ｆｕｌｌｗｉｄｔｈ ⓒⓘⓡⓒⓛⓔⓓ ˢᵘᵖᵉʳ
█▓▒░ ┌─┬─┐│ ├┼┤ └┴┘ ╔═╗ ■□▪▫●○◆◇
(╯°□°)╯︵ ┻━┻ ¯\\\\_(ツ)_/¯ ʕ•ᴥ•ʔ ಠ_ಠ""".split("\n")

COMBINING = ["e\u0301 vs \u00e9, n\u0303 vs \u00f1, A\u030a vs \u00c5 vs \u212b", "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034fa\u034c\u0303l\u0301\u0327g\u0308\u0330o\u0306\u0337",
             "\u0301leading mark", "q\u0307\u0323 q\u0323\u0307 \u1e0b\u0323 d\u0323\u0307", "\u1100\u1161\u11a8 vs \uac01, \u1112\u1161\u11ab\u1100\u1173\u11af",
             "o\u0308\u0304 \u022b \u01d6 u\u0308\u0304", "\u0915\u093c \u0958 \u0928\u093c \u0929", "\ufb01 \ufb03 \ufb05 \u0132 \u01c4 \u00df \u1e9e \u0130 \u0131 I i",
             "\u2126 \u03a9 \u00b5 \u03bc \u212a K \u2460 \u33a1 \u3300 \ufdfa", "a\u0300\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308\u0309 b", "\u0e01\u0e33 \u0e33 \u0e4d\u0e32 \u0ea5\u0eb3",
             "\u05d1\u05bc\u05b0 \u05d1\u05b0\u05bc \ufb31\u05b0 \ufb4f", "i\u0307 \u0130stanbul I\u0307", "\u1e69 s\u0323\u0307 s\u0307\u0323"]

SPACES = ["", " ", "  ", "   ", "\t", "\n", "\n\n", "\n\n\n", " \n ", "\r\n", "\r", "\u00a0", "\u3000", "\u2003", "\u200b", "\ufeff", "\u2028", "\u0085", "\u000b\u000c",
          " a", "a ", "  a  ", "a  b", "a   b    c     d", "a\tb", "a\t\tb", "a \t b", "a\nb", "a\n\nb", "a\r\nb", "a \n b", "\ta", "a\t", "\na", "a\n",
          "a\u00a0b", "a\u00a0 \u00a0b", "a\u3000b", "\u3000\u3000中文", "a\u200bb", "a\u200db", "a\u200cb", "a\u2060b", "\ufeffBOM first", "a\u00adb", "soft\u00adhyphen",
          "a\u2028b", "a\u2029b", "a\u0085b", "a\u000bb\u000cc", "a\u1680b\u180eb\u202fb\u205fb", "\u202eright to left\u202c", "\u2066isolate\u2069",
          "line one\nline two\r\nline three\rline four", "    four spaces", "\t\ttwo tabs", "trailing spaces    ", "trailing newline\n", "x" + " " * 31, " " * 17 + "x",
          "\n" * 9 + "x", "a" + "\n" * 5 + "b", "\t" * 6 + "x", " \t \t \t x", "word" + "\u00a0" * 4 + "word", "\u0000", "a\u0000b", "\u0001\u0002\u0003", "\u007f", "a\u001bb[0m", "\ufffd", "\ufffe\uffff",
          "\ue000\uf8ff", "\U000f0000", "\U0010ffff", "\u0378\u0379"]

PUNCTUATION = ["...", "....", "!!!", "???", "?!?!", "---", "--", "—", "–", "***", "===", "==>", "<=>", "!=", ">>>", "<<<", "::", ":::", ";;", ",,,", "''", '""', "``", "'''", '"""',
               "()", "(())", "[]", "{}", "<>", "</>", "/*", "*/", "//", "\\", "\\\\", "|", "||", "&&", "@@", "##", "$$", "%%", "^^", "~~", "_", "__", "___init___", "+-*/=", "“”‘’«»„‚‹›",
               "。、！？「」『』（）【】《》・…ー〜", "¡¿§¶†‡•‰′″", "؟،؛٪", "।॥", "!@#$%^&*()_+-=[]{}|;':\",./<>?`~", "a.b,c;d:e!f?g", "don't can't I'll we're they've it's 'tis y'all's",
               "DON'T CAN'T I'LL WE'RE", "don’t can’t I’ll", "(a)[b]{c}<d>", "a/b\\c|d", "...and then...", "end.Start", "x=y;z==w", "-1--2---3", "a...b", "'s 't 're", "=" * 40, "-" * 64, "a" * 50, "ha" * 30, "." * 100]

RANGES = [(0x20, 0x7E), (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x2AF), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0xB80, 0xBFF),
          (0xE00, 0xE7F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1E00, 0x1EFF), (0x2000, 0x206F), (0x2100, 0x214F), (0x2190, 0x21FF), (0x2200, 0x22FF), (0x2580, 0x25FF), (0x2600, 0x26FF),
          (0x3000, 0x303F), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFB00, 0xFB4F), (0xFE00, 0xFE0F), (0xFF00, 0xFFEF), (0x10000, 0x100FF), (0x1D400, 0x1D7FF),
          (0x1F300, 0x1F6FF), (0x1F900, 0x1F9FF), (0x20000, 0x2A6DF)]


def escape(text):
    out = []
    for c in text:
        if c in "\\\n\t\r":
            out.append({"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}[c])
        elif unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cn", "Co") or c in "\ufeff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069":
            out.append(f"\\u{{{ord(c):x}}}")
        else:
            out.append(c)
    return "".join(out)


def unescape(line):
    out, i = [], 0
    while i < len(line):
        if line[i] != "\\":
            out.append(line[i])
            i += 1
        elif line[i + 1] == "u":
            end = line.index("}", i)
            out.append(chr(int(line[i + 3 : end], 16)))
            i = end + 1
        else:
            out.append({"\\": "\\", "n": "\n", "t": "\t", "r": "\r"}[line[i + 1]])
            i += 2
    return "".join(out)


def random_text(rng):
    """Characters of one to three blocks, in runs."""
    out = []
    for low, high in rng.sample(RANGES, rng.randint(1, 3)):
        out += [chr(rng.randint(low, high)) for _ in range(rng.randint(1, 12))]
        if rng.random() < 0.4:
            out.append(" ")
    return "".join(out)


def build():
    rng = random.Random(20240229)
    sentences = [s for text in SENTENCES.values() for s in text.split("\n")]
    written = [unescape(s) for s in CODE + URLS + SPECIALS + EMOJI] + NUMBERS
    words = [w for s in sentences + NUMBERS for w in s.split()]
    special = [w for s in SPECIALS for w in unescape(s).split()]
    texts = SPACES + sentences + written + COMBINING + PUNCTUATION + words[::2] + special
    texts += [unescape(w) for s in EMOJI for w in s.split()]
    spaces = [" ", "  ", "\t", "\n", "\u00a0", "\u3000", "\u200b", "", " \n", "\n\n    ", "\r\n"]
    for s in sentences:  # each sentence changed once or twice
        kind = rng.randrange(8)
        if kind == 0:
            texts.append(s.upper())
        elif kind == 1:
            texts.append(s.lower())
        elif kind == 2:
            texts.append(rng.choice(spaces) + s + rng.choice(spaces))
        elif kind == 3:
            texts.append("".join(w + rng.choice(spaces) for w in s.split()))
        elif kind == 4:
            texts.append(unicodedata.normalize("NFD", s))
        elif kind == 5:
            texts.append(unicodedata.normalize("NFKC", s[: len(s) // 2]))
        elif kind == 6:
            texts.append(s[::-1])
        else:
            texts.append(s[rng.randrange(len(s)) :])
        texts.append(s[: rng.randint(1, len(s))])
    pool = sentences + written + COMBINING + PUNCTUATION
    for _ in range(330):  # mixtures
        texts.append(rng.choice(spaces).join(rng.choice(pool) for _ in range(rng.randint(2, 3))))
    for _ in range(120):  # look-alikes of special tokens inside texts
        s = rng.choice(sentences)
        at = rng.randrange(len(s) + 1)
        texts.append(s[:at] + rng.choice(["", " "]) + rng.choice(special) + rng.choice(["", " ", "\n"]) + s[at:])
    for _ in range(140):  # numbers and signs
        texts.append("".join(rng.choice(["", " ", ",", ".", "-", "/", "x", "\n"]) + str(rng.randrange(10 ** rng.randint(1, 9))) for _ in range(rng.randint(1, 8))))
    for _ in range(100):  # punctuation runs
        texts.append("".join(rng.choice(PUNCTUATION[:50]) + rng.choice(["", "", " ", "a"]) for _ in range(rng.randint(1, 6))))
    for _ in range(420):  # random Unicode
        texts.append(random_text(rng))
    for _ in range(40):  # paragraphs
        texts.append(rng.choice([" ", "\n", "\n\n"]).join(rng.choice(sentences) for _ in range(rng.randint(4, 8))))
    seen = list(dict.fromkeys(texts))
    rng.shuffle(seen)
    return seen


def main():
    here = pathlib.Path(__file__).resolve().parent.parent / "text" / "corpus.txt"
    texts = build()
    with open(here, "w", encoding="utf-8", newline="\n") as f:
        f.writelines(escape(t) + "\n" for t in texts)
    with open(here, encoding="utf-8", newline="\n") as f:
        lines = f.read().split("\n")[:-1]
    assert [unescape(line) for line in lines] == texts
    print(len(texts), "texts,", here.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
