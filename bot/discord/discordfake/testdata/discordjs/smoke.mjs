// Logs in at the fake whose REST address is the first argument, takes one
// command and edits its answer. discord.js believes it talks to Discord.
import { Client, GatewayIntentBits } from "discord.js";

const client = new Client({
  intents: [GatewayIntentBits.Guilds],
  rest: { api: process.argv[2] },
});

client.once("clientReady", () => console.log("ready"));

client.on("interactionCreate", async (interaction) => {
  try {
    await interaction.deferReply();
    const vm = interaction.options.getString("vm");
    await interaction.editReply({
      content: `${interaction.options.getSubcommand()} ${vm}`,
      allowedMentions: { parse: [] },
    });
    console.log("answered");
  } catch (err) {
    console.error(err);
    process.exitCode = 1;
  }
  await client.destroy();
});

await client.login(process.argv[3]);
