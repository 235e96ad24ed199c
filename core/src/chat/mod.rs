//! Conversations: messages in, the model's answer out, with the cache kept between turns.
//!
//! ```text
//! messages -> template (prompt.rs, core/jinja) -> prompt -> tokens -> what the session lacks -> text
//!     ^                                                                                      |
//!     '------------------------------- the reply joins -------------------------------------'
//! ```

mod message;
mod prompt;

pub use message::{Message, Role};
pub(crate) use prompt::Prompter;
pub use prompt::Variable;

use crate::cancel::CancelToken;
use crate::error::{Error, Result};
use crate::generate::{FinishReason, GenerateOptions, Generation, Piece, Session, Stats, Stream};
use crate::model::Model;

/// A conversation with a model: its messages, and the session that has read them.
///
/// A turn reads only what is new since the last one. Special tokens that are spelled out in a
/// message's text count as such, as in every chat template: keep them out of texts that are not
/// to be trusted.
///
/// # Examples
/// ```no_run
/// use emberform::{GenerateOptions, Model};
///
/// let model = Model::open("models/qwen25-coder-0.5b-q4_k_m.gguf")?;
/// let mut chat = model.chat()?;
/// chat.system("Answer in one line.");
/// let options = GenerateOptions::default().max_tokens(64);
/// println!("{}", chat.say("Who wrote Faust?", &options)?.text()?);
/// println!("{}", chat.say("When?", &options)?.text()?);
/// # Ok::<(), emberform::Error>(())
/// ```
#[derive(Debug)]
pub struct Chat {
    model: Model,
    session: Session,
    messages: Vec<Message>,
    variables: Vec<(String, Variable)>,
    /// The reply that is being made, not yet among the messages.
    reply: Option<String>,
    /// The number of the reply that is being made; each has another.
    turn: u64,
}

impl Chat {
    fn new(model: &Model) -> Result<Chat> {
        model.need_decoder("chat")?;
        model.need_tokenizer("chat")?;
        // A template that is missing or broken is told here rather than at the first message.
        model.check_template("chat")?;
        Ok(Chat {
            session: model.session()?,
            model: model.clone(),
            messages: vec![],
            variables: vec![],
            reply: None,
            turn: 0,
        })
    }

    /// Sets the message that stands before all others and says how to answer; an earlier one
    /// gives way to it.
    pub fn system(&mut self, text: impl Into<String>) {
        let message = Message::system(text);
        match self.messages.first_mut() {
            Some(first) if first.role == Role::System => *first = message,
            _ => self.messages.insert(0, message),
        }
    }

    /// Adds a message without asking for a reply, such as one of an earlier conversation.
    pub fn push(&mut self, message: Message) {
        self.settle();
        self.messages.push(message);
    }

    /// Sets a variable of the model's template, such as `enable_thinking`. Which there are, the
    /// template says: see [`Model::chat_template`].
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Variable>) {
        let name = name.into();
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.into()));
    }

    /// The text that the model would be asked to go on from now: the messages through the
    /// template.
    ///
    /// # Errors
    /// As [`Model::chat_prompt`].
    pub fn prompt(&self) -> Result<String> {
        self.model.render_prompt("prompt", &self.messages, &self.variables)
    }

    /// The messages so far. A reply is among them once it has ended.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The tokens that the model has read, whose keys and values are cached.
    pub fn ids(&self) -> &[u32] {
        self.session.ids()
    }

    /// What stops this conversation's work from another thread. It is for the reply that is being
    /// made: the next one begins unhindered, with the same token.
    pub fn cancel_token(&self) -> CancelToken {
        self.session.cancel_token()
    }

    /// Says something as the user; the reply comes as a stream.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn say(
        &mut self,
        text: impl Into<String>,
        options: &GenerateOptions,
    ) -> Result<ChatStream<'_>> {
        let generation = self.start(text, options)?;
        Ok(ChatStream { chat: self, generation })
    }

    /// Says something as the user, without borrowing the conversation: [`next`](Self::next) gives
    /// the reply piece by piece. [`say`](Self::say) is the same as an iterator. A reply that was
    /// not read to its end joins the messages as far as it was read.
    ///
    /// # Errors
    /// [`Error::TooLong`] when the conversation leaves no room in the window,
    /// [`Error::Argument`] for an option out of range or messages that the template refuses,
    /// [`Error::Format`] and [`Error::Unsupported`] when the template is not what it should be.
    /// The messages are as before then.
    pub fn start(
        &mut self,
        text: impl Into<String>,
        options: &GenerateOptions,
    ) -> Result<Generation> {
        self.settle();
        self.messages.push(Message::user(text));
        match self.begin(options) {
            Ok(mut generation) => {
                self.turn += 1;
                generation.turn = self.turn;
                self.reply = Some(String::new());
                Ok(generation)
            }
            Err(error) => {
                self.messages.pop();
                Err(error)
            }
        }
    }

    fn begin(&mut self, options: &GenerateOptions) -> Result<Generation> {
        let prompt = self.prompt()?;
        // The template has put the opening token where it belongs.
        let ids = self.model.need_tokenizer("chat")?.encode(&prompt, false)?.ids;
        self.model.check_room(&ids)?;
        let known = self.session.ids().iter().zip(&ids).take_while(|(a, b)| a == b).count();
        // The last token is read again if need be: its logits are what the reply begins with.
        let known = known.min(ids.len().saturating_sub(1));
        if known < self.session.ids().len() {
            self.session.truncate(known);
        }
        self.session.cancel_token().rearm();
        let new = ids[self.session.ids().len()..].to_vec();
        self.session.begin(new, options)
    }

    /// The next piece of the reply that [`start`](Self::start) began, or `None` at its end.
    ///
    /// # Errors
    /// As [`Generation::next`]. The turn is undone then, and may be tried again.
    /// [`Error::Argument`] when a later message has ended the reply before it was read to its end;
    /// nothing is undone then.
    pub fn next(&mut self, generation: &mut Generation) -> Option<Result<Piece>> {
        if generation.turn != self.turn {
            let problem = "was ended by a later message of the conversation";
            return generation.abandon().then(|| Err(Error::argument("generation", problem)));
        }
        let piece = generation.next(&mut self.session);
        match &piece {
            Some(Ok(piece)) => {
                if let Some(reply) = &mut self.reply {
                    reply.push_str(&piece.text);
                }
            }
            Some(Err(_)) => {
                if self.reply.take().is_some() {
                    self.messages.pop();
                }
            }
            None => self.settle(),
        }
        piece
    }

    /// Ends the reply that [`start`](Self::start) began, which joins the messages as far as it was
    /// read: what dropping a [`ChatStream`] does. Does nothing to a reply that has ended.
    pub fn end(&mut self, generation: &Generation) {
        if generation.turn == self.turn {
            self.settle();
        }
    }

    /// Ends the reply that is being made; it joins the messages.
    fn settle(&mut self) {
        if let Some(reply) = self.reply.take() {
            // What made it makes nothing more.
            self.turn += 1;
            self.messages.push(Message::assistant(reply));
        }
    }
}

impl Model {
    /// The text that the model's chat template makes of messages, up to where the model answers.
    ///
    /// It holds its special tokens as text: encode it without further ones.
    ///
    /// # Errors
    /// [`Error::Missing`] without a template, [`Error::Argument`] for messages that the template
    /// refuses, [`Error::Format`] and [`Error::Unsupported`] when it is not what it should be.
    pub fn chat_prompt(&self, messages: &[Message]) -> Result<String> {
        self.chat_prompt_with(messages, &[])
    }

    /// As [`chat_prompt`](Self::chat_prompt), with variables of the template by name, such as
    /// `enable_thinking`. Which there are, the template says: see
    /// [`chat_template`](Self::chat_template).
    ///
    /// # Errors
    /// As [`chat_prompt`](Self::chat_prompt).
    pub fn chat_prompt_with(
        &self,
        messages: &[Message],
        variables: &[(String, Variable)],
    ) -> Result<String> {
        self.render_prompt("chat_prompt", messages, variables)
    }

    /// Answers messages: a stream of pieces, made as they are asked for.
    ///
    /// For a conversation of several turns, [`chat`](Self::chat) keeps what was read.
    ///
    /// # Errors
    /// As [`chat_prompt`](Self::chat_prompt) and [`generate`](Self::generate).
    pub fn generate_chat(
        &self,
        messages: &[Message],
        options: &GenerateOptions,
    ) -> Result<Stream<'static>> {
        self.generate_chat_with(messages, &[], options)
    }

    /// As [`generate_chat`](Self::generate_chat), with variables of the template by name.
    ///
    /// # Errors
    /// As [`generate_chat`](Self::generate_chat).
    pub fn generate_chat_with(
        &self,
        messages: &[Message],
        variables: &[(String, Variable)],
        options: &GenerateOptions,
    ) -> Result<Stream<'static>> {
        let prompt = self.render_prompt("generate_chat", messages, variables)?;
        let ids = self.need_tokenizer("generate_chat")?.encode(&prompt, false)?.ids;
        self.check_room(&ids)?;
        self.session()?.into_stream(ids, options)
    }

    /// A conversation: messages and a session of its own.
    ///
    /// # Errors
    /// [`Error::Missing`] for an encoder, or without a tokenizer or a chat template.
    pub fn chat(&self) -> Result<Chat> {
        Chat::new(self)
    }

    /// The chat template of the files, as they have it.
    pub fn chat_template(&self) -> Option<&str> {
        self.prompter().source()
    }

    /// Messages as the prompt that the chat template makes of them.
    fn render_prompt(
        &self,
        call: &'static str,
        messages: &[Message],
        variables: &[(String, Variable)],
    ) -> Result<String> {
        self.prompter().render(call, messages, variables)
    }

    /// Refuses a model without a chat template, or with one that cannot be read.
    fn check_template(&self, call: &'static str) -> Result<()> {
        self.prompter().template(call).map(|_| ())
    }

    /// Refuses a prompt that leaves no room for an answer.
    fn check_room(&self, ids: &[u32]) -> Result<()> {
        if ids.is_empty() {
            return Err(Error::argument("messages", "make a prompt without a token"));
        }
        self.check_length(ids.len() + 1)
    }
}

/// A reply as it is made: an iterator of [`Piece`]s, each made when it is asked for.
///
/// What the conversation has not read yet is read at the first call of `next`. Dropping the
/// stream stops the work; what it gave until then joins the messages.
#[derive(Debug)]
pub struct ChatStream<'a> {
    chat: &'a mut Chat,
    generation: Generation,
}

impl ChatStream<'_> {
    /// Why the reply ended; `None` while it goes on, and after an error.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.generation.finish_reason()
    }

    /// Counts and times so far; of the prompt only the tokens that were not cached.
    pub fn stats(&self) -> Stats {
        self.generation.stats()
    }

    /// What stops this reply from another thread, also while the prompt is read.
    pub fn cancel_token(&self) -> CancelToken {
        self.chat.cancel_token()
    }

    /// All of the reply that is still to come.
    ///
    /// # Errors
    /// What goes wrong on the way; see [`Session::feed`]. A cancelled reply gives what it has.
    pub fn text(self) -> Result<String> {
        let mut text = String::new();
        for piece in self {
            text.push_str(&piece?.text);
        }
        Ok(text)
    }
}

impl Iterator for ChatStream<'_> {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        self.chat.next(&mut self.generation)
    }
}

impl Drop for ChatStream<'_> {
    fn drop(&mut self) {
        self.chat.end(&self.generation);
    }
}
