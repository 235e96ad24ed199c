/* Says what a model is: the expanded network, the files' tensors, memory, and what devices there
 * are; then compares its device with the CPU.
 *
 *   inspect [MODEL [DEVICE]]
 */
#include <emberform.h>

#include <stdio.h>
#include <stdlib.h>

static void check(ember_status status, const ember_error *error) {
    if (status < EMBER_ERROR_ARGUMENT) return;
    fprintf(stderr, "emberform: %s\n", error->message);
    exit(1);
}

static void say(ember_text text, const char *after) {
    printf("%.*s%s", (int)text.len, text.data, after);
}

int main(int count, char **words) {
    ember_error error;
    ember_open_options options = EMBER_OPEN_OPTIONS_INIT;
    ember_devices *devices = NULL;
    ember_model *model = NULL;
    ember_verification *verification = NULL;
    ember_device_info device;
    ember_model_info info;
    ember_tensor_info tensor;
    ember_memory memory;
    ember_text text;

    check(ember_devices_list(&devices, &error), &error);
    for (size_t i = 0; i < ember_devices_count(devices); i++) {
        check(ember_devices_get(devices, i, &device, sizeof device, &error), &error);
        say(device.id, device.is_auto ? ": auto: " : ": ");
        say(device.why, "\n");
    }
    ember_devices_free(devices);

    options.device = count > 2 ? words[2] : "auto";
    check(ember_model_open(count > 1 ? words[1] : "models/minilm", &options, &model, &error), &error);
    check(ember_model_describe(model, &info, sizeof info, &error), &error);
    check(ember_model_spec(model, &text, &error), &error);
    say(info.description, "\n\n");
    say(text, "\n\n");
    for (size_t i = 0; i < info.tensors; i++) {
        check(ember_model_tensor(model, i, &tensor, sizeof tensor, &error), &error);
        say(tensor.name, "  ");
        say(tensor.format, "  [");
        for (size_t d = 0; d < tensor.rank; d++) printf(d ? ", %zu" : "%zu", tensor.shape[d]);
        printf("]  %zu bytes\n", tensor.bytes);
    }
    check(ember_model_memory(model, &memory, sizeof memory, &error), &error);
    printf("\n%zu tensors; ", info.tensors);
    say(memory.description, "\n");
    check(ember_model_verify(model, &verification, &error), &error);
    check(ember_verification_text(verification, &text, &error), &error);
    say(text, "\n");
    ember_verification_free(verification);
    ember_model_free(model);
    return 0;
}
